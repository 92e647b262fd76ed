"""What a group of an ``.onnx`` file's nodes is called in latency tables."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgelr.latency.litert_words import beside, dilation, rows, turned
from edgelr.latency.operation import Operation, Shape
from edgelr.latency.ort_graph import OrtGraph
from edgelr.latency.ort_groups import Group

_WORDS = {
    "Conv": "conv", "ConvTranspose": "conv_transpose", "Gemm": "linear", "MatMulInteger": "linear", "DynamicQuantizeMatMul": "linear",
    "Max": "maximum", "Min": "minimum", "MaxPool": "maxpool", "AveragePool": "avgpool", "GlobalAveragePool": "mean", "ReduceMean": "mean",
    "ReduceSum": "sum", "LeakyRelu": "leaky_relu", "HardSwish": "hardswish", "HardSigmoid": "hardsigmoid", "Flatten": "reshape",
    "Squeeze": "reshape", "Unsqueeze": "reshape", "LayerNormalization": "layer_norm", "InstanceNormalization": "instance_norm",
    "DynamicQuantizeLSTM": "lstm", "QuantizeLinear": "quantize", "DequantizeLinear": "dequantize", "Scan": "loop",
}  # fmt: skip
_PAIRS = ("Add", "Sub", "Mul", "Div", "Max", "Min", "Pow")
_PLAIN = ("MatMul", "Softmax", "LayerNormalization", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Gather", "Scan")
_PLACED = ("Conv", "ConvTranspose", "MaxPool", "AveragePool", "GlobalAveragePool", "Resize")  # channels are axis 1 at any rank
_INTEGERS = (6, 7, 9)  # ONNX's codes of int32, int64 and bool


def operation_of(g: OrtGraph, group: Group) -> Operation:
    """The operation that a group of nodes does."""
    return _Reader(g, group).operation()


class _Reader:
    def __init__(self, g: OrtGraph, group: Group) -> None:
        from onnx import helper

        self.g, self.group, self.node = g, group, g.nodes[group.main]
        self.kind = self.node.op_type
        self.attributes: dict[str, Any] = {a.name: helper.get_attribute_value(a) for a in self.node.attribute}

    def written(self, value: str) -> Shape:
        return self.g.shape(value)

    def last(self, shape: Shape) -> Shape:
        """A shape with its channels last."""
        if self.kind in _PLAIN or len(shape) < 3 or (len(shape) != 4 and self.kind not in _PLACED):
            return shape
        return (shape[0], *shape[2:], shape[1])

    def axis(self, axis: int, rank: int) -> int:
        """Where an axis is with channels last."""
        axis %= rank
        if self.last(tuple(range(rank))) == tuple(range(rank)):
            return axis
        places: tuple[int, ...] = (0, rank - 1, *range(1, rank - 1))
        return places[axis]

    def operation(self) -> Operation:
        kind, group = self.kind, self.group
        inputs = [v for v in group.inputs if self.g.types.get(v) not in _INTEGERS] or list(group.inputs)
        shapes = [self.last(self.written(v)) for v in inputs]
        out = self.last(self.written(group.outputs[0]))
        word, kernel, stride, groups = _WORDS.get(kind, kind.lower()), (1, 1), (1, 1), 1
        if kind in ("Conv", "ConvTranspose", "MaxPool", "AveragePool"):
            size = self.attributes.get("kernel_shape") or self.written(self.node.input[1])[2:]
            kernel, stride = _pair(size), _pair(self.attributes.get("strides") or [1] * len(size))
            groups = int(self.attributes.get("group", 1))
            if kind == "Conv" and groups > 1 and groups == shapes[0][-1]:
                word = "depthwise"
        elif kind == "MatMul":
            word = "linear" if self.node.input[1] in self.g.stored else "matmul"
        elif kind == "LeakyRelu" and group.numbers == "int8" and self.attributes.get("alpha", 0.01) in (0.0, 1.0):
            word = "requantize"  # as edgelr spells a change of grid
        elif kind == "Clip":
            word = {"relu6": "relu6", "relu_n1_to_1": "relu_n1_to_1"}.get(self.bounds(self.node), "clip")
        elif kind == "Resize":
            word = "resize_nearest" if self.attributes.get("mode", b"nearest") == b"nearest" else "resize_bilinear"
        elif kind == "QuantizeLinear" and len(group.nodes) == 2:
            word = "requantize"
        elif kind in ("LSTM", "GRU", "DynamicQuantizeLSTM"):
            shapes, out = [_batch_first(s) for s in shapes], (1, self.written(group.inputs[0])[0], int(self.attributes["hidden_size"]))
        if word == "linear":
            shapes, out = [rows(shapes[0])], rows(out)
        return Operation(word, group.numbers, tuple(shapes), out, kernel, stride, groups, self.activation(), self.detail())

    def activation(self) -> str:
        if self.group.numbers == "int8":
            return "none"
        for n in self.group.nodes:
            if self.g.nodes[n].op_type == "Relu" and n != self.group.main:
                return "relu"
            if self.g.nodes[n].op_type == "Clip" and n != self.group.main:
                return self.bounds(self.g.nodes[n])
        return "none"

    def bounds(self, node: Any) -> str:
        """The name of a Clip's bounds."""
        low, high, *_ = (*(float(self.g.array(v)) if v else None for v in node.input[1:]), None, None)
        return {(0.0, 6.0): "relu6", (-1.0, 1.0): "relu_n1_to_1"}.get((low, high), "clip")  # type: ignore[arg-type]

    def detail(self) -> str:
        kind, a, rank = self.kind, self.attributes, len(self.written(self.group.outputs[0]))
        if kind not in ("QuantizeLinear", "DequantizeLinear") and self.g.types.get(self.group.outputs[0]) in _INTEGERS:
            return "index"
        if kind == "Conv":
            return dilation(_pair(a.get("kernel_shape") or self.written(self.node.input[1])[2:]), _pair(a.get("dilations") or [1, 1]))
        if kind in _PAIRS:
            stored = [self.g.array(v).shape for v in self.node.input if v in self.g.stored]
            shape = (1,) * (rank - len(stored[0])) + stored[0] if stored else ()
            return beside(self.last(shape), rank) if stored else "twice" if len(set(self.node.input)) == 1 else "-"
        if kind == "MatMul" and self.node.input[1] not in self.g.stored:
            return turned(*(self._turned(v) for v in self.node.input))
        if kind in ("GlobalAveragePool", "ReduceMean", "ReduceSum"):
            given = self.g.array(self.node.input[1]).tolist() if len(self.node.input) > 1 else list(range(2, rank))
            return "axes" + _axes(self.axis(i, len(self.written(self.group.inputs[0]))) for i in given)
        if kind == "LayerNormalization":
            return "axes" + _axes(range(a.get("axis", -1) % rank, rank))
        if kind == "InstanceNormalization":
            return "axes" + _axes(self.axis(i, rank) for i in range(2, rank))
        if kind == "Softmax":
            return "-" if a.get("axis", -1) % rank == rank - 1 else f"axis{a['axis'] % rank}"
        if kind == "Concat":
            return f"axis{self.axis(a['axis'], rank)}"
        if kind == "Split":
            axis = a.get("axis", 0) % rank
            return f"axis{self.axis(axis, rank)}into" + "x".join(str(self.written(o)[axis]) for o in self.node.output)
        if kind == "Slice" and len(self.node.input) > 4:
            steps = {int(n) for n in self.g.array(self.node.input[4]).reshape(-1)} - {1}
            return "step" + "x".join(map(str, sorted(steps))) if steps else "-"
        if kind == "Pad":
            mode = a.get("mode", b"constant")
            text = mode.decode() if isinstance(mode, bytes) else str(mode)
            return "-" if text == "constant" else text
        if kind == "Transpose":
            return "perm" + "".join(map(str, a["perm"]))
        return "tanh" if kind == "Gelu" and a.get("approximate") == b"tanh" else "-"

    def _turned(self, value: str) -> bool:
        return self.g.makers.get(value) in self.group.nodes and self.g.nodes[self.g.makers[value]].op_type == "Transpose"


def _axes(axes: Any) -> str:
    return "x".join(map(str, sorted(axes)))


def _pair(sizes: Sequence[int]) -> tuple[int, int]:
    return (int(sizes[0]), int(sizes[1])) if len(sizes) > 1 else (1, int(sizes[0]))


def _batch_first(shape: Shape) -> Shape:
    return (shape[1], shape[0], *shape[2:]) if len(shape) == 3 else shape
