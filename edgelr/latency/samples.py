"""A file with one operation alone, made from nothing but its key: what latency tables are measured and counted on."""
from __future__ import annotations

from collections.abc import Mapping
from math import prod

import torch

from edgelr.errors import UnsupportedError
from edgelr.export import onnx_bytes, tflite_bytes
from edgelr.graph import Graph, Node
from edgelr.graph.ops import Conv, Gelu, LeakyRelu, Linear, Requantize, Reshape, Slice
from edgelr.latency.cut import cut_operators
from edgelr.latency.operation import Operation
from edgelr.latency.sample_ops import Made, make
from edgelr.quantization import quantize
from edgelr.vocabulary import Format, Kept

_RANGE = (-4.0, 4.0)  # latency doesn't depend on the scales
# On integers ONNX Runtime has another kernel for these, channels last, where convolutions are around.
_BETWEEN = ("maxpool", "mean", "resize_nearest")


def sample(operation: Operation, format: Format, *, blocked: bool = False) -> bytes:
    """A file that holds this operation alone, as ``cut_operators`` cuts it; the same bytes each time. Weights are random.

    ``blocked``: an ``.onnx`` with ONNX Runtime's float layouts for x86-64, for devices of that kind.

    Raises UnsupportedError for operations that are not made alone: work on places, and what edgelr doesn't write in that format.
    """
    if operation.detail == "index" or operation.activation in ("clip", "other"):
        raise _refused(operation, format)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            data = _written(operation, format)
        except (ValueError, AssertionError, LookupError, RuntimeError, NotImplementedError) as error:
            raise _refused(operation, format) from error
    for cut in cut_operators(data, format, blocked=blocked):
        if cut.operation == operation:
            return cut.data
    raise _refused(operation, format)


def _written(operation: Operation, format: Format) -> bytes:
    graph, kept = _boundary(operation, format) if operation.op in ("quantize", "dequantize") else _graph(operation, format)
    quantized = quantize(graph, dict.fromkeys(graph.shapes, _RANGE), kept)
    return tflite_bytes(quantized) if format == "tflite" else onnx_bytes(quantized)


def _graph(operation: Operation, format: Format) -> tuple[Graph, Mapping[str, Kept]]:
    """The operation on the graph's input; several inputs are cut out of one."""
    if operation.op == "biasgelu":  # ONNX Runtime's own, of a linear layer's bias and what follows
        rows, c = operation.output[1:]
        linear = Node("before", Linear(torch.randn(c, c), torch.randn(c)), ("x",))
        floats = {name: Kept("float", "choice", "asked for") for name in ("before", "y")}
        return Graph.build("x", (rows, c), [linear, Node("y", Gelu(False), ("before",))], "y"), floats
    made: Made = make(operation, format)
    nodes: list[Node] = []
    if len(made.inputs) == 1:
        shape, inputs = made.inputs[0], ("x",) * (2 if operation.detail == "twice" else 1)
    else:
        lengths = [prod(s) for s in made.inputs]
        shape, inputs = (sum(lengths),), tuple(f"x{i}" for i in range(len(lengths)))
        for i, length in enumerate(lengths):
            begin = sum(lengths[:i])
            nodes += [Node(f"part{i}", Slice(0, begin, begin + length), ("x",)), Node(f"x{i}", Reshape(made.inputs[i]), (f"part{i}",))]
    if format == "onnx" and operation.numbers == "int8" and operation.op in _BETWEEN:
        nodes += [Node("before", _point(shape[0]), ("x",)), Node("y", made.op, ("before",)), Node("behind", _point(shape[0]), ("y",))]
        return Graph.build("x", shape, nodes, "behind"), {}
    nodes.append(Node("y", made.op, inputs))
    kept = {} if operation.numbers == "int8" else {"y": Kept(operation.numbers, "choice", "asked for")}
    return Graph.build("x", shape, nodes, "y"), kept


def _point(channels: int) -> Conv:
    return Conv(torch.randn(channels, channels, 1, 1), torch.randn(channels), (1, 1), (0, 0, 0, 0), (1, 1))


def _boundary(operation: Operation, format: Format) -> tuple[Graph, Mapping[str, Kept]]:
    """An operation in float before or behind one on the grid, with the boundary between them."""
    shape = operation.inputs[0][1:]
    first, second = (LeakyRelu(0.1), Requantize()) if operation.op == "quantize" else (Requantize(), LeakyRelu(0.1))
    graph = Graph.build("x", shape, [Node("a", first, ("x",)), Node("y", second, ("a",))], "y")
    return graph, {"a" if operation.op == "quantize" else "y": Kept("float", "choice", "asked for")}


def _refused(operation: Operation, format: Format) -> UnsupportedError:
    why = f"edgelr writes no such .{format} operation by itself."
    what = f"No file can be made of this operation alone: {operation}"
    return UnsupportedError(what, why, "build the table from a model's file that has it")
