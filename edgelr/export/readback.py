"""Reads a written file back and holds it against the graph that it was written from."""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from edgelr.errors import GateError
from edgelr.export.layout import layout_of
from edgelr.export.onnx_reader import read_onnx
from edgelr.export.tflite_reader import read_tflite
from edgelr.export.written import Format, WrittenFile, WrittenWeights
from edgelr.graph.ops import Concat, Permute, Requantize, Reshape, Weighted
from edgelr.quantization import Quantized

__all__ = ["check_readback", "read", "read_onnx", "read_tflite"]


def read(data: bytes, format: Format) -> WrittenFile:
    """A file of either format. Raises BadInputError for malformed bytes."""
    return read_tflite(data) if format == "tflite" else read_onnx(data)


def check_readback(q: Quantized, data: bytes, format: Format) -> None:
    """Every scale, zero point, integer weight, weight scale and bias of the file equals ours bit for bit, and none is missing.

    Raises GateError naming the first operator that differs, BadInputError for bytes that can't be read.
    """
    written = read(data, format)
    without = _unwritten(q, format)
    expected = _expected(q, format)
    for value in (q.graph.input, *(n.name for n in q.graph.nodes)):
        found, ours = written.grids.get(value), q.grids.get(value)
        if ours is None:
            if found is not None:
                raise _differs(value, format, "it is on a grid in the file and in float in the graph")
        elif found is None and value not in without:
            raise _differs(value, format, "it has no scale and zero point in the file")
        elif found is not None and found != ours:
            raise _differs(value, format, f"scale {found.scale!r} and zero point {found.zero_point} in the file, "
                                          f"{ours.scale!r} and {ours.zero_point} in the graph")
        if value in expected:
            if value not in written.weights:
                raise _differs(value, format, "its integer weights are not in the file")
            for what, mine, theirs in _pairs(expected[value], written.weights[value]):
                if mine.dtype != theirs.dtype or mine.shape != theirs.shape or mine.tobytes() != theirs.tobytes():
                    raise _differs(value, format, f"its {what} in the file is not the graph's")
    for name in written.weights:
        if name and name not in expected:  # what a loop is made of has no names: its outputs are judged
            raise _differs(name, format, "the graph has no such weights")


def _differs(name: str, format: Format, why: str) -> GateError:
    return GateError(f"{name}: the written .{format} differs from the graph", why, "write it again; if that doesn't help, report it")


def _pairs(ours: WrittenWeights, theirs: WrittenWeights) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    yield "weight", ours.weight, theirs.weight
    yield "weight scale", ours.scale, theirs.scale
    yield "bias", ours.bias, theirs.bias
    yield "bias scale", ours.bias_scale, theirs.bias_scale


def _unwritten(q: Quantized, format: Format) -> set[str]:
    """Values that the format needs no tensor for: steps in a chain of moves, a change of grid inside a concatenation."""
    if format == "tflite":
        return {n.name for n in q.graph.nodes if isinstance(n.op, Permute | Reshape)}
    users = q.graph.users()
    return {n.name for n in q.graph.nodes if isinstance(n.op, Requantize) and n.name != q.graph.output
            and n.name in q.grids and all(isinstance(u.op, Concat) for u in users[n.name])}


def _expected(q: Quantized, format: Format) -> dict[str, WrittenWeights]:
    """The weights as the format should hold them, given in the readers' layout."""
    columns = layout_of(q.graph).columns if format == "tflite" else {}
    expected = {}
    for node in q.graph.nodes:
        if not isinstance(node.op, Weighted):
            continue
        none, real_bias = np.zeros(0, np.float32), node.op.bias.detach().numpy()
        if q.numbers(node.name) == "float":
            ours = WrittenWeights(node.op.weight.detach().numpy(), none, real_bias, none)
        elif node.name not in q.weights:
            continue
        else:
            w = q.weights[node.name]
            weight, scale = w.weight.numpy(), w.scale.numpy()
            ours = WrittenWeights(weight, scale, real_bias, none) if q.numbers(node.name) == "dynamic" else WrittenWeights(
                weight, scale, w.bias.numpy(), np.float32(q.grids[node.inputs[0]].scale) * scale)
        if format == "tflite" and ours.weight.ndim == 3:
            ours = replace(ours, weight=ours.weight[:, :, None])
        if node.inputs[0] in columns:
            ours = replace(ours, weight=ours.weight[:, columns[node.inputs[0]]])
        expected[node.name] = ours
    return expected
