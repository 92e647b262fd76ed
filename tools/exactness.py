"""How exactly files are the integer run: whole networks on many samples, and each operation fed the file's own integers."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from bench_table import tell

from edgelr.data import Split
from edgelr.devices import open_session
from edgelr.export import onnx_bytes, tflite_bytes
from edgelr.export.layout import layout_of
from edgelr.graph import Node
from edgelr.graph.arithmetic import dequantize, quantize
from edgelr.quantization import Quantized, simulate_integers, step

Array = np.ndarray[Any, Any]
ENOUGH = 0.9999  # share of an operation's values that are to be equal in LiteRT


def batches(split: Split, size: int) -> Iterator[tuple[torch.Tensor, Array]]:
    """Inputs and labels (0 where there are none)."""
    for i, (x, y) in enumerate(split.batches(size)):
        if i % 20 == 0:
            tell(f"  {i * size} of {len(split)} images")
        yield x, np.zeros(len(x), np.int64) if y is None else y.numpy()


def whole(q: Quantized, split: Split, size: int) -> dict[str, Any]:
    """Both files against the integer run on every sample, and what each of the three gets right. ``size``: samples of a batch.

    ``behind``: the most steps that the class a file decides on lies below the simulator's, in the simulator's own output.
    """
    files = {"onnx": open_session(onnx_bytes(q), "onnx", as_meant=True), "tflite": open_session(tflite_bytes(q), "tflite")}
    right = {"simulator": 0, "onnx": 0, "tflite": 0}
    same, equal, worst, behind = (dict.fromkeys(files, 0) for _ in range(4))
    values, reals_equal, classes = 0, True, set()
    for x, y in batches(split, size):
        integers = simulate_integers(q, x)
        reference = integers.numpy().astype(np.int64)
        right["simulator"] += int((reference.argmax(1) == y).sum())
        values += reference.size
        classes |= set(reference.argmax(1).tolist())
        for format, session in files.items():
            got = session.run_int(x.numpy())
            got = got.astype(np.int64) - (128 if got.dtype == np.uint8 else 0)
            right[format] += int((got.argmax(1) == y).sum())
            same[format] += int((got.argmax(1) == reference.argmax(1)).sum())
            equal[format] += int((got == reference).sum())
            worst[format] = max(worst[format], int(np.abs(got - reference).max()))
            chosen = np.take_along_axis(reference, got.argmax(1)[:, None], 1)[:, 0]
            behind[format] = max(behind[format], int((reference.max(1) - chosen).max()))
        reals = dequantize(integers, q.grids[q.graph.output]).numpy()
        reals_equal &= np.array_equal(files["onnx"].run(x.numpy()).view(np.uint32), reals.view(np.uint32))
    n = len(split)
    told: dict[str, Any] = {"accuracy": {k: v / n for k, v in right.items()}, "n": n, "classes": len(classes)}
    told["bits_equal"] = bool(reals_equal)
    for f in files:
        told[f] = {"differing": n - same[f], "equal": equal[f], "values": values, "max_lsb": worst[f], "behind": behind[f]}
    return told


class Kept:
    """A .tflite in LiteRT that keeps every tensor, each operator then a delegate of its own; spoken to in torch's layout and integers."""

    def __init__(self, q: Quantized) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self.q, layout = q, layout_of(q.graph)
        self.last, self.columns = layout.channels_last, layout.columns
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # keeping all tensors warns that it is meant for debugging: so it is here
            self.interpreter = Interpreter(model_content=tflite_bytes(q), num_threads=1, experimental_preserve_all_tensors=True)
        self.interpreter.allocate_tensors()
        self.input = self.interpreter.get_input_details()[0]
        self.index = {d["name"]: d["index"] for d in reversed(self.interpreter.get_tensor_details())}

    def values(self, integers: torch.Tensor) -> dict[str, torch.Tensor]:
        """All values of the graph that the file holds, for one sample of integers [1, ...]."""
        x = integers.numpy().astype(np.int8)
        x = np.moveaxis(x, 1, -1) if self.q.graph.input in self.last else x
        self.interpreter.set_tensor(self.input["index"], np.ascontiguousarray(x.reshape(self.input["shape"])))
        self.interpreter.invoke()
        shapes = self.q.graph.shapes
        return {v: self._torch(v, self.interpreter.get_tensor(self.index[v])) for v in shapes if v in self.index}

    def _torch(self, value: str, written: Array) -> torch.Tensor:
        shape = self.q.graph.shapes[value]
        if value in self.last:
            written = np.moveaxis(written.reshape(1, *shape[1:], shape[0]), -1, 1)
        if value in self.columns:
            written = written.reshape(1, -1)[:, np.argsort(self.columns[value])]
        return torch.from_numpy(written.reshape(1, *shape).astype(np.float32))

    def operators(self) -> tuple[int, int]:
        """How many operators the file has, and how many of them XNNPACK took."""
        names = [d["op_name"] for d in self.interpreter._get_ops_details()]
        delegates = names.count("DELEGATE")
        return len(names) - delegates, delegates


def undecided(q: Quantized, node: Node, inputs: list[torch.Tensor], off: torch.Tensor) -> float:
    """How far, in steps, the values that differ lie from the middle of two steps, in exact arithmetic: the farthest of them.

    1/2 for an operation with weights, of which this is not worked out.
    """
    if node.name in q.weights:
        return 0.5 if off.any() else 0.0
    grid = q.grids[node.name]
    reals = [(v.double() - q.grids[i].zero_point) * q.grids[i].scale for v, i in zip(inputs, node.inputs, strict=True)]
    steps = (node.op.run(*reals) / grid.scale)[off > 0]
    return float((steps - steps.floor() - 0.5).abs().max()) if len(steps) else 0.0


def forced(q: Quantized, samples: torch.Tensor) -> dict[str, Any]:
    """Each operation of the .tflite against the integer one on the same integers, those that the file itself computed before it.

    Per operation: its kind, values, those not equal, the largest difference in steps, and what ``undecided`` tells of those not equal.
    ``not_held``: operations whose result or inputs the file has no tensor for.
    """
    file = Kept(q)
    operators, delegated = file.operators()
    found: dict[str, tuple[str, int, int, int, float]] = {}
    for sample in quantize(samples, q.grids[q.graph.input]).split(1):
        values = file.values(sample)
        for node in q.graph.nodes:
            if node.name in values and all(i in values for i in node.inputs):
                inputs = [values[i] for i in node.inputs]
                off = (step(q, node, inputs) - values[node.name]).abs()
                kind, count, flips, worst, far = found.get(node.name, (type(node.op).__name__, 0, 0, 0, 0.0))
                found[node.name] = (kind, count + off.numel(), flips + int((off > 0).sum()), max(worst, int(off.max())),
                                    max(far, undecided(q, node, inputs, off)))
    absent = [n.name for n in q.graph.nodes if n.name not in found]
    return {"samples": len(samples), "operators": operators, "delegated": delegated, "operations": found, "not_held": absent}
