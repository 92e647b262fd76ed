"""What a kernel of ONNX Runtime is called in latency tables."""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod
from typing import Any

from edgelr.latency.litert_words import beside, dilation, rows, turned
from edgelr.latency.operation import Operation, Shape
from edgelr.latency.ort_graph import OrtGraph
from edgelr.vocabulary import Numbers

_WORDS = {
    "Conv": "conv", "FusedConv": "conv", "ConvTranspose": "conv_transpose", "Gemm": "linear", "FusedGemm": "linear",
    "DynamicQuantizeMatMul": "linear", "MatMulIntegerToFloat": "linear", "MatMulInteger": "linear", "MatMul": "matmul",
    "FusedMatMul": "matmul", "Max": "maximum", "Min": "minimum", "MaxPool": "maxpool", "NhwcMaxPool": "maxpool", "AveragePool": "avgpool",
    "GlobalAveragePool": "mean", "ReduceMean": "mean", "ReduceSum": "sum", "LeakyRelu": "leaky_relu", "HardSwish": "hardswish",
    "HardSigmoid": "hardsigmoid", "Flatten": "reshape", "Squeeze": "reshape", "Unsqueeze": "reshape", "LayerNormalization": "layer_norm",
    "SkipLayerNormalization": "layer_norm", "InstanceNormalization": "instance_norm", "DynamicQuantizeLSTM": "lstm", "FastGelu": "gelu",
    "QuantizeLinear": "quantize", "DynamicQuantizeLinear": "quantize", "DequantizeLinear": "dequantize", "Scan": "loop", "Sum": "identity",
    "ReorderInput": "reorder_input", "ReorderOutput": "reorder_output",
}  # fmt: skip
_PAIRS = ("Add", "Sub", "Mul", "Div", "Max", "Min", "Pow")
_AS_WRITTEN = ("MatMul", "FusedMatMul", "Softmax", "LayerNormalization", "SkipLayerNormalization", "Reshape", "Flatten", "Squeeze",
               "Unsqueeze", "Transpose", "Gather", "Scan")  # fmt: skip
_PLACED = ("Conv", "FusedConv", "ConvTranspose", "MaxPool", "AveragePool", "GlobalAveragePool", "Resize", "InstanceNormalization")
_INTEGER = ("int8", "uint8")
_PLACES = ("int32", "int64", "bool")


def operation_of(g: OrtGraph, number: int) -> Operation:
    """The operation that a kernel does."""
    return _Reader(g, g.nodes[number]).operation()


class _Reader:
    def __init__(self, g: OrtGraph, node: Any) -> None:
        from onnx import helper

        self.g, self.node = g, node
        self.kind = node.op_type.removeprefix("QLinear") if node.op_type != "QGemm" else "Gemm"
        self.attributes: dict[str, Any] = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        self.out = next(o for o in node.output if o)
        moving = [v for v in dict.fromkeys(node.input) if v and v not in g.arrays]
        self.moving = [v for v in moving if g.types[v] not in _PLACES] or moving
        if self.kind == "MatMulIntegerToFloat":
            self.moving = [v for v in self.moving if prod(g.shapes[v]) > 1 or len(g.shapes[v]) > 1]  # without what the scale is
        self.stored = [v for v in node.input if v in g.arrays and prod(g.shapes[v]) > 1]

    @property
    def numbers(self) -> Numbers:
        types = {self.g.types[v] for v in (*self.moving, self.out)}
        if self.node.op_type in ("QuantizeLinear", "DequantizeLinear") or types <= {*_INTEGER}:
            return "int8"
        dynamic = self.node.op_type.startswith("DynamicQuantize") or self.node.op_type == "MatMulIntegerToFloat"
        return "dynamic" if dynamic else "float"

    def last(self, shape: Shape) -> Shape:
        """A shape with its channels last. Kernels on integers have them there already, but for those that only come as ONNX has them."""
        if self.kind in _AS_WRITTEN or len(shape) < 3 or self.attributes.get("channels_last") or self.kind == "NhwcMaxPool":
            return shape
        if self.kind == "Resize" and self.g.shapes[self.out][-1] == self.g.shapes[self.moving[0]][-1] and len(shape) == 4:
            return shape  # what is resized tells where the channels are
        first = self.kind in _PLACED or (len(shape) == 4 and self.numbers != "int8")
        return (shape[0], *shape[2:], shape[1]) if first else shape

    def axis(self, axis: int, rank: int) -> int:
        """Where an axis is with channels last."""
        return self.last(tuple(range(rank))).index(axis % rank)

    def operation(self) -> Operation:
        kind, g, a = self.kind, self.g, self.attributes
        shapes, out = [self.last(g.told[v]) for v in self.moving], self.last(g.told[self.out])
        word, kernel, stride, groups = _WORDS.get(kind, kind.lower()), (1, 1), (1, 1), 1
        if kind in ("Conv", "FusedConv", "ConvTranspose", "MaxPool", "NhwcMaxPool", "AveragePool"):
            kernel, stride, groups = _pair(self.kernel()), _pair(a.get("strides") or [1, 1]), int(a.get("group", 1))
            shapes = shapes[:1]  # a sum that is fused into a convolution takes no time of its own to speak of
            if word == "conv" and groups > 1 and groups == self.last(g.shapes[self.moving[0]])[-1]:
                word, groups = "depthwise", shapes[0][-1]  # blocked layouts fill channels up, and their groups
        elif kind in ("MatMul", "FusedMatMul") and self.stored:
            word = "linear"
        elif kind == "LeakyRelu" and self.numbers == "int8" and a.get("alpha", 0.01) in (0.0, 1.0):
            word = "requantize"  # as edgelr spells a change of grid
        elif kind == "Clip":
            word = {"relu6": "relu6", "relu_n1_to_1": "relu_n1_to_1"}.get(self.clip(), "clip")
        elif kind == "Resize":
            word = "resize_nearest" if a.get("mode", b"nearest") == b"nearest" else "resize_bilinear"
        elif kind in ("LSTM", "GRU", "DynamicQuantizeLSTM"):
            steps = g.shapes[self.moving[0]]
            shapes, out = [(steps[1], steps[0], steps[2])], (1, steps[0], int(a["hidden_size"]))
        if word == "linear":
            shapes, out = [rows(shapes[0])], rows(out)
        return Operation(word, self.numbers, tuple(shapes), out, kernel, stride, groups, self.activation(), self.detail())

    def kernel(self) -> Sequence[int]:
        given = self.attributes.get("kernel_shape")
        return given or self.g.shapes[self.stored[0]][2:]

    def activation(self) -> str:
        name = self.attributes.get("activation", b"")
        text = name.decode() if isinstance(name, bytes) else str(name)
        if self.numbers == "int8" or not text:
            return "none"
        if text == "Clip":
            return _BOUNDS.get(tuple(self.attributes.get("activation_params", ())), "clip")
        return "relu" if text == "Relu" else "other"

    def clip(self) -> str:
        bounds = [float(self.array(v)) if v else None for v in self.node.input[1:]]
        return _BOUNDS.get(tuple(bounds), "clip")

    def array(self, value: str) -> Any:
        from onnx import numpy_helper

        return numpy_helper.to_array(self.g.arrays[value])

    def detail(self) -> str:
        kind, a, rank = self.kind, self.attributes, len(self.g.shapes[self.out])
        if self.g.types[self.out] in _PLACES:
            return "index"
        if kind in ("Conv", "FusedConv"):
            return dilation(_pair(self.kernel()), _pair(a.get("dilations") or [1, 1]))
        if kind in _PAIRS:
            return self.pair(rank)
        if kind in ("MatMul", "FusedMatMul") and not self.stored:
            return turned(a.get("transA", 0), a.get("transB", 0))
        if kind in ("GlobalAveragePool", "ReduceMean", "ReduceSum"):
            before = len(self.g.shapes[self.moving[0]])
            places = range(1, before - 1) if a.get("channels_last") else range(2, before)
            given = self.array(self.node.input[1]).tolist() if kind != "GlobalAveragePool" and len(self.node.input) > 1 else places
            return "axes" + _axes(self.axis(i, before) for i in given)
        if kind in ("LayerNormalization", "SkipLayerNormalization"):
            return "axes" + _axes(range(a.get("axis", -1) % rank, rank))
        if kind == "InstanceNormalization":
            return "axes" + _axes(self.axis(i, rank) for i in range(2, rank))
        if kind == "Softmax":
            axis = a.get("axis", -1) % rank
            return "-" if axis == rank - 1 else f"axis{axis}"
        if kind == "Concat":
            return f"axis{self.axis(a['axis'], rank)}"
        if kind == "Split":
            axis = a.get("axis", 0) % rank
            return f"axis{self.axis(axis, rank)}into" + "x".join(str(self.g.shapes[o][axis]) for o in self.node.output)
        if kind == "Slice" and len(self.node.input) > 4:
            steps = {int(n) for n in self.array(self.node.input[4]).reshape(-1)} - {1}
            return "step" + "x".join(map(str, sorted(steps))) if steps else "-"
        if kind == "Pad":
            mode = a.get("mode", b"constant").decode()
            return "-" if mode == "constant" else str(mode)
        if kind == "Transpose":
            return "perm" + "".join(map(str, a["perm"]))
        return "tanh" if kind == "FastGelu" or (kind == "Gelu" and a.get("approximate") == b"tanh") else "-"

    def pair(self, rank: int) -> str:
        """The detail of a sum or product: on integers scales and zero points are stored too, as single numbers."""
        integer = self.node.op_type.startswith("QLinear")
        operands = [self.node.input[i] for i in ((0, 3) if integer else (0, 1))]
        stored = [v for v in operands if v in self.g.arrays]
        if stored:
            shape = self.g.shapes[stored[0]]
            return beside(self.last((1,) * (rank - len(shape)) + shape), rank)
        return "twice" if operands[0] == operands[1] else "-"


_BOUNDS: dict[tuple[Any, ...], str] = {(0.0, 6.0): "relu6", (-1.0, 1.0): "relu_n1_to_1"}


def _axes(axes: Iterable[int]) -> str:
    return "x".join(map(str, sorted(axes)))


def _pair(sizes: Sequence[int]) -> tuple[int, int]:
    return (int(sizes[0]), int(sizes[1])) if len(sizes) > 1 else (1, int(sizes[0]))
