"""Prepares a case once (captured, calibrated, written) and runs files in their runtimes."""
from __future__ import annotations

import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from attention_cases import ATTENTION, FLOAT_OPS
from parity_cases import CASES
from torch import nn

from edgelr.devices import meant
from edgelr.export import onnx_bytes, tflite_bytes
from edgelr.export.layout import layout_of
from edgelr.graph import Graph, aten, capture
from edgelr.graph.arithmetic import quantize
from edgelr.quantization import Quantized, calibrate

ALL = {**CASES, **FLOAT_OPS, **ATTENTION}
RULES_USED: set[str] = set()


class Recording(dict[str, Any]):
    """A table of rules that notes which were asked for."""

    def get(self, key: str, default: Any = None) -> Any:
        RULES_USED.add(key)
        return super().get(key, default)


@dataclass(frozen=True, eq=False)
class Prepared:
    model: nn.Module
    graph: Graph
    q: Quantized
    x: torch.Tensor


@cache
def prepared(name: str, samples: int = 4) -> Prepared:
    """The case's network with seeded weights and batch norm statistics like a trained one's, and its calibration batch."""
    build, shape = ALL[name]
    torch.manual_seed(sum(map(ord, name)))
    model = build().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, 0, 0.2)
    rules = aten.RULES
    aten.RULES = Recording(rules)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Using padding='same' with even kernel")
            graph = capture(model, shape)
    finally:
        aten.RULES = rules
    x = torch.randn(samples, *shape)
    return Prepared(model, graph, calibrate(graph, [x]), x)


@cache
def onnx_of(name: str) -> bytes:
    return onnx_bytes(prepared(name).q)


@cache
def tflite_of(name: str) -> bytes:
    return tflite_bytes(prepared(name).q)


def onnx_session(data: bytes, optimized: Path | None = None) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    else:
        data = meant(data)
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def run_onnx(data: bytes, x: np.ndarray) -> np.ndarray:
    return onnx_session(data).run(None, {"input": x})[0]


def fused_onnx(data: bytes) -> Counter[str]:
    """Operators by type in the graph that ONNX Runtime makes of a file on this machine."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fused.onnx"
        onnx_session(data, path)
        return Counter(n.op_type for n in onnx.load(path).graph.node)


class LiteRT:
    """A .tflite in LiteRT with all tensors kept, spoken to in torch's layout and integers."""

    def __init__(self, data: bytes, q: Quantized, keep: bool = False) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self.q, self.last, self.columns = q, layout_of(q.graph).channels_last, layout_of(q.graph).columns
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # keeping all tensors warns that it is meant for debugging: so it is here
            self.interpreter = Interpreter(model_content=data, num_threads=1, experimental_preserve_all_tensors=keep)
        self.interpreter.allocate_tensors()
        self.input, self.output = self.interpreter.get_input_details()[0], self.interpreter.get_output_details()[0]
        self.index = {d["name"]: d["index"] for d in reversed(self.interpreter.get_tensor_details())}

    def _torch(self, value: str, written: np.ndarray) -> torch.Tensor:
        shape = self.q.graph.shapes[value]
        if value in self.last:
            written = np.moveaxis(written.reshape(1, *shape[1:], shape[0]), -1, 1)
        if value in self.columns:
            written = written.reshape(1, -1)[:, np.argsort(self.columns[value])]
        return torch.from_numpy(written.reshape(1, *shape).astype(np.float32))

    def invoke(self, integers: torch.Tensor) -> None:
        values = integers.numpy().astype(np.int8)
        if self.q.graph.input in self.last:
            values = np.moveaxis(values, 1, -1)
        self.interpreter.set_tensor(self.input["index"], np.ascontiguousarray(values.reshape(self.input["shape"])))
        self.interpreter.invoke()

    def invoke_real(self, x: torch.Tensor) -> None:
        """One real sample, put on the input's grid where it has one."""
        graph = self.q.graph
        if graph.input in self.q.grids:
            self.invoke(quantize(x, self.q.grids[graph.input]))
            return
        values = np.moveaxis(x.numpy(), 1, -1) if graph.input in self.last else x.numpy()
        self.interpreter.set_tensor(self.input["index"], np.ascontiguousarray(values.reshape(self.input["shape"])))
        self.interpreter.invoke()

    def run(self, integers: torch.Tensor) -> torch.Tensor:
        results = []
        for sample in integers.split(1):
            self.invoke(sample)
            results.append(self._torch(self.q.graph.output, self.interpreter.get_tensor(self.output["index"])))
        return torch.cat(results)

    def values(self) -> Iterator[tuple[str, torch.Tensor]]:
        """All values of the graph that the file holds, after ``invoke`` of a session that keeps them."""
        for value in self.q.graph.shapes:
            if value in self.index:
                yield value, self._torch(value, self.interpreter.get_tensor(self.index[value]))

    def operators(self) -> list[str]:
        """Operators with kernels of their own; those that XNNPACK took are inside DELEGATE."""
        return [d["op_name"] for d in self.interpreter._get_ops_details()]
