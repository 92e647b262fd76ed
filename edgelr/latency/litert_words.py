"""What an operator of a ``.tflite`` file is called in latency tables."""
from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelr.latency.operation import Operation, Shape
from edgelr.vocabulary import Numbers

_WORDS = {
    "CONV_2D": "conv", "DEPTHWISE_CONV_2D": "depthwise", "TRANSPOSE_CONV": "conv_transpose", "FULLY_CONNECTED": "linear",
    "BATCH_MATMUL": "matmul", "MAX_POOL_2D": "maxpool", "AVERAGE_POOL_2D": "avgpool", "LOGISTIC": "sigmoid", "HARD_SWISH": "hardswish",
    "CONCATENATION": "concat", "STRIDED_SLICE": "slice", "SPLIT_V": "split", "PADV2": "pad", "MIRROR_PAD": "pad",
    "RESIZE_NEAREST_NEIGHBOR": "resize_nearest", "UNIDIRECTIONAL_SEQUENCE_LSTM": "lstm", "REVERSE_V2": "reverse", "WHILE": "loop",
}  # fmt: skip
_PAIRS = {"ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE"}
_MATRICES = {"CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED"}
_LOOKED_UP = ("LOGISTIC", "TANH", "ELU")
_FUSED = {0: "none", 1: "relu", 2: "relu_n1_to_1", 3: "relu6"}
_PLACES = ("INT32", "INT64", "BOOL")
_TYPES = {"FLOAT32": np.float32, "INT32": np.int32, "INT8": np.int8}


def operation_of(schema: Any, model: Any, graph: Any, operator: Any) -> Operation:
    """The operation that an operator of a graph does."""
    return _Reader(schema, model, graph, operator).operation()


def merged_pads(schema: Any, model: Any, graph: Any) -> dict[int, int]:
    """By the number of a convolution that of the PAD that XNNPACK merges into it: one of zeros in height and width, read there alone.

    Measured with ai-edge-litert 2.3.0: a PAD before a 3x3 convolution of stride 2 adds nothing to it, where alone it takes as long again.
    """
    readers: dict[int, list[int]] = {}
    for number, operator in enumerate(graph.operators):
        for index in dict.fromkeys(int(i) for i in operator.inputs):
            readers.setdefault(index, []).append(number)
    found = {}
    for number, operator in enumerate(graph.operators):
        value = int(operator.outputs[0])
        if len(readers.get(value, [])) != 1 or value in list(graph.outputs):
            continue
        pad, into = _Reader(schema, model, graph, operator), graph.operators[readers[value][0]]
        conv = _Reader(schema, model, graph, into)
        amounts = pad.integers(1) if pad.kind == "PAD" else []
        if len(amounts) != 8 or any((*amounts[:2], *amounts[6:])) or conv.kind not in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            continue
        if conv.options.padding == schema.Padding.VALID and int(into.inputs[0]) == value:
            found[readers[value][0]] = number
    return found


class _Reader:
    def __init__(self, schema: Any, model: Any, graph: Any, operator: Any) -> None:
        self.types = {code: name for name, code in vars(schema.TensorType).items() if isinstance(code, int)}
        builtins = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
        code = model.operatorCodes[operator.opcodeIndex]
        self.kind = builtins.get(max(code.builtinCode, code.deprecatedBuiltinCode), "CUSTOM")
        self.model, self.options = model, operator.builtinOptions
        self.inputs = [graph.tensors[i] if i >= 0 else None for i in operator.inputs]
        self.outputs = [graph.tensors[i] for i in operator.outputs]
        self.twice = len(operator.inputs) == 2 and operator.inputs[0] == operator.inputs[1]
        self.moving = [t for t in self.inputs if t is not None and self.stored(t) is None and not t.isVariable]
        values = [t for t in self.moving if self._type(t) not in _PLACES]
        self.moving = values or self.moving  # where an operator works, not what on

    def stored(self, tensor: Any) -> NDArray[Any] | None:
        data = self.model.buffers[tensor.buffer].data
        if data is None or len(data) == 0:
            return None
        values = np.frombuffer(np.asarray(data, np.uint8).tobytes(), _TYPES.get(self.types[tensor.type], np.uint8))
        shape = _shape(tensor)
        return values.reshape(shape) if values.size == prod(shape) else values

    def integers(self, index: int) -> list[int]:
        """A stored list of whole numbers; empty where there is none."""
        tensor = self.inputs[index] if index < len(self.inputs) else None
        values = None if tensor is None else self.stored(tensor)
        return [] if values is None else [int(v) for v in values.reshape(-1)]

    def operation(self) -> Operation:
        word = _WORDS.get(self.kind, self.kind.lower())
        shapes, out = [_shape(t) for t in self.moving], _shape(self.outputs[0])
        numbers, detail, kernel, stride, groups = self.numbers(), self.detail(), (1, 1), (1, 1), 1
        if self.kind == "QUANTIZE" and self._type(self.moving[0]) == "INT8":
            word = "requantize"
        if self.kind in _LOOKED_UP and numbers == "int8":
            word = "lut"
        if self.kind in _PAIRS and self.twice:
            shapes = shapes[:1]
        if self.kind == "FULLY_CONNECTED":
            shapes, out = [rows(shapes[0])], rows(out)
        elif self.kind in _MATRICES and self.inputs[1] is not None:
            weight = _shape(self.inputs[1])
            kernel, stride = (weight[1], weight[2]), (self.options.strideH, self.options.strideW)
            groups = 1 if word == "conv_transpose" else shapes[0][3] // weight[3] if word == "conv" else shapes[0][3]
        elif self.kind in ("MAX_POOL_2D", "AVERAGE_POOL_2D"):
            kernel = self.options.filterHeight, self.options.filterWidth
            stride = self.options.strideH, self.options.strideW
        if detail == "index" and numbers == "int8":
            numbers = "float"
        return Operation(word, numbers, tuple(shapes), out, kernel, stride, groups, self.activation(numbers), detail)

    def numbers(self) -> Numbers:
        moving = {self._type(t) for t in (*self.moving, *self.outputs)}
        if self.kind in ("QUANTIZE", "DEQUANTIZE") or moving == {"INT8"}:
            return "int8"
        stored = {self._type(t) for t in self.inputs if t is not None and self.stored(t) is not None}
        return "dynamic" if "INT8" in stored and "FLOAT32" in moving else "float"

    def activation(self, numbers: Numbers) -> str:
        if numbers == "int8" or self.kind == "UNIDIRECTIONAL_SEQUENCE_LSTM":
            return "none"
        return _FUSED.get(getattr(self.options, "fusedActivationFunction", 0), "other")

    def detail(self) -> str:
        kind, options = self.kind, self.options
        if kind not in ("QUANTIZE", "DEQUANTIZE") and {self._type(t) for t in self.outputs} & {*_PLACES} and kind != "WHILE":
            return "index"
        if kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            return dilation(_shape(self.inputs[1])[1:3], (options.dilationHFactor, options.dilationWFactor))
        if kind in _PAIRS:
            constant = next((_shape(t) for t in self.inputs if t is not None and self.stored(t) is not None), None)
            return "twice" if self.twice else "-" if constant is None else beside(constant, len(_shape(self.outputs[0])))
        if kind in ("MEAN", "SUM", "REDUCE_MAX", "REVERSE_V2"):
            rank = len(_shape(self.inputs[0]))
            return ("axis" if kind == "REVERSE_V2" else "axes") + "x".join(str(a % rank) for a in sorted(self.integers(1)))
        if kind == "BATCH_MATMUL":
            return turned(options.adjX, options.adjY)
        if kind == "CONCATENATION":
            return f"axis{options.axis % len(_shape(self.outputs[0]))}"
        if kind in ("SPLIT", "SPLIT_V"):
            axis = self.integers(0 if kind == "SPLIT" else 2)[0] % len(_shape(self.outputs[0]))
            return f"axis{axis}into" + "x".join(str(_shape(t)[axis]) for t in self.outputs)
        if kind == "STRIDED_SLICE":
            return "step" + "x".join(map(str, sorted({*self.integers(3)} - {1}) or [1]))
        if kind == "MIRROR_PAD":
            return "reflect" if options.mode == 0 else "edge"
        if kind == "TRANSPOSE":
            return "perm" + "".join(map(str, self.integers(1)))
        return "tanh" if kind == "GELU" and options.approximate else "-"

    def _type(self, tensor: Any) -> str:
        return str(self.types[tensor.type])


def _shape(tensor: Any) -> Shape:
    return () if tensor.shape is None else tuple(int(n) for n in tensor.shape)


def rows(shape: Shape) -> Shape:
    """A linear layer's shape: [1, C], or [1, rows, C]."""
    count = prod(shape[:-1])
    return (1, shape[-1]) if count == 1 else (1, count, shape[-1])


def beside(constant: Shape, rank: int) -> str:
    """The detail of an operation with a stored array."""
    return "constant1" if prod(constant) == 1 else "constant" + "x".join(map(str, (1,) * (rank - len(constant)) + constant))


def dilation(kernel: Sequence[int], factors: Sequence[int]) -> str:
    """The detail of a convolution."""
    height, width = (d if k > 1 else 1 for k, d in zip(kernel, factors, strict=True))
    if kernel[0] == 1 or kernel[1] == 1:
        height = width = max(height, width)
    return "-" if height == width == 1 else f"dilation{height}" if height == width else f"dilation{height}x{width}"


def turned(a: bool, b: bool) -> str:
    """The detail of a product of activations."""
    return {(False, False): "-", (True, False): "turn_a", (False, True): "turn_b", (True, True): "turn_ab"}[bool(a), bool(b)]
