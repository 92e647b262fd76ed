"""One small graph for each operation and its main variants, with weights, grids and inputs that are the same everywhere and always.

Written by our own writers when a test or a tool asks for them; nothing binary is stored. Random numbers are of NumPy's legacy
generator, whose stream is frozen. Operations on two activations get the second one through a change of grid.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from math import prod
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgelr.export import onnx_bytes, tflite_bytes
from edgelr.graph import Graph, Node, capture
from edgelr.graph.arithmetic import WEIGHT_MAX
from edgelr.graph.mixed import necessary
from edgelr.graph.ops import (
    NO_CLAMP,
    RELU,
    RELU6,
    Add,
    AddConstant,
    Bilinear,
    Concat,
    Conv,
    ConvTranspose,
    Elu,
    Gelu,
    GlobalMean,
    LayerNorm,
    LeakyRelu,
    Linear,
    MatMul,
    MaxPool,
    Mul,
    MulConstant,
    Nearest,
    Op,
    Pad,
    Permute,
    Requantize,
    Reshape,
    Shape,
    Shift,
    Sigmoid,
    Slice,
    Softmax,
    Tanh,
)
from edgelr.graph.ops.base import Clamp
from edgelr.graph.ops.recurrent import Recurrent
from edgelr.quantization import Quantized, quantize
from edgelr.vocabulary import Kept, Numbers

Format = Literal["tflite", "onnx"]
Range = tuple[float, float]
IMAGE: Shape = (8, 9, 7)
INPUT: Range = (-1.0, 1.5)  # neither symmetric nor from 0 on: a zero point of its own
OTHER: Range = (-0.7, 0.4)
OUTPUT: Range = (-2.0, 3.0)


@dataclass(frozen=True, eq=False)
class Golden:
    """A graph with the range of every value, and how its operation ``node`` is asked to compute."""

    graph: Graph
    ranges: dict[str, Range]
    numbers: Numbers = "int8"
    node: str = "y"

    def quantized(self, format: Format, weight_max: int = WEIGHT_MAX) -> Quantized:
        """On the grid as this format needs it: what its runtime has no integer kernel for is in float."""
        kept = necessary(self.graph, (format,))
        if self.numbers != "int8":
            kept[self.node] = Kept(self.numbers, "choice", "asked")
        narrow: dict[str, Op] = {n.name: replace(n.op, widest=weight_max) for n in self.graph.nodes if isinstance(n.op, Recurrent)}
        return quantize(self.graph.with_ops(narrow), self.ranges, kept, weight_max)


def drawn(seed: int, *shape: int) -> Tensor:
    """Numbers in [-1, 1)."""
    return torch.from_numpy(np.random.RandomState(seed).uniform(-1, 1, shape).astype(np.float32))


def _alone(op: Op, shape: Shape = IMAGE, out: Range = OUTPUT, numbers: Numbers = "int8") -> Golden:
    return Golden(Graph.build("x", shape, [Node("y", op, ("x",))], "y"), {"x": INPUT, "y": out}, numbers)


def _behind(op: Op, shape: Shape = IMAGE) -> Golden:
    """The operation in float, behind an int8 one and before none."""
    nodes = [Node("before", _conv(8, 8, 3, 3), ("x",)), Node("y", op, ("before",))]
    return Golden(Graph.build("x", shape, nodes, "y"), {"x": INPUT, "before": OUTPUT, "y": OUTPUT}, "float")


def _both(op: Op, shape: Shape = IMAGE, out: Range = OUTPUT, turn: Op | None = None) -> Golden:
    """The operation on the input and on the input put on another grid, ``turn``ed first."""
    nodes = [Node("other", Requantize(), ("x",)), *([Node("turned", turn, ("other",))] if turn else [])]
    nodes.append(Node("y", op, ("x", nodes[-1].name)))
    return Golden(Graph.build("x", shape, nodes, "y"), {"x": INPUT, "other": OTHER, "turned": OTHER, "y": out})


def _conv(n: int, c: int, *kernel: int, stride: int = 1, pads: tuple[int, ...] = (), dilation: int = 1, groups: int = 1,
          clamp: Clamp = NO_CLAMP) -> Conv:
    d = len(kernel)
    weight = drawn(n + c, n, c // groups, *kernel) * (6 / prod((c // groups, *kernel))) ** 0.5
    return Conv(weight, drawn(n, n), (stride,) * d, pads or (0,) * 2 * d, (dilation,) * d, groups, clamp)


def _linear(n: int, c: int, clamp: Clamp = NO_CLAMP) -> Linear:
    return Linear(drawn(n + c, n, c) * (6 / c) ** 0.5, drawn(n, n), clamp)


def _transposed(kernel: int, stride: int, pads: tuple[int, ...], clamp: Clamp = NO_CLAMP) -> ConvTranspose:
    return ConvTranspose(drawn(3, 12, 8, kernel, kernel) * 0.4, drawn(12, 12), (stride,) * 2, pads, clamp)


def _norm(*shape: int) -> LayerNorm:
    return LayerNorm(drawn(1, *shape) + 1, drawn(2, *shape), 1e-5)


class _Outputs(nn.Module):
    """A recurrent layer's outputs at every step, with weights of our own numbers."""

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.y = layer
        with torch.no_grad():
            for i, weight in enumerate(layer.parameters()):
                weight.copy_(drawn(i, *weight.shape) * 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.y(x)[0]


def _recurrent(kind: type[nn.RNNBase], numbers: Numbers) -> Golden:
    graph = capture(_Outputs(kind(6, 16, batch_first=True)).eval(), (9, 6))
    name = next(n.name for n in graph.nodes if n.name.startswith("y"))
    return Golden(graph, {v: INPUT if v == graph.input else OUTPUT for v in graph.shapes}, numbers, name)


GOLDEN: dict[str, Callable[[], Golden]] = {
    "conv_1x1": lambda: _alone(_conv(12, 8, 1, 1)),
    "conv_3x3_same": lambda: _alone(_conv(12, 8, 3, 3, pads=(1, 1, 1, 1))),
    "conv_3x3_stride": lambda: _alone(_conv(12, 8, 3, 3, stride=2, pads=(1, 1, 1, 1))),
    "conv_pads_unequal": lambda: _alone(_conv(12, 8, 3, 3, pads=(2, 0, 1, 3))),
    "conv_3x1": lambda: _alone(_conv(8, 8, 3, 1, pads=(1, 0, 1, 0))),
    "conv_1x3": lambda: _alone(_conv(8, 8, 1, 3, pads=(0, 1, 0, 1))),
    "conv_dilated": lambda: _alone(_conv(8, 8, 3, 3, pads=(2, 2, 2, 2), dilation=2)),
    "conv_grouped": lambda: _alone(_conv(12, 8, 3, 3, groups=4)),
    "conv_wide": lambda: _alone(_conv(32, 96, 3, 3, pads=(1, 1, 1, 1)), (96, 6, 6)),
    "conv_relu": lambda: _alone(_conv(12, 8, 3, 3, clamp=RELU), out=(0, 3)),
    "conv_relu6": lambda: _alone(_conv(12, 8, 3, 3, clamp=RELU6), out=(0, 6)),
    "conv_1d": lambda: _alone(_conv(12, 8, 5, pads=(2, 2)), (8, 31)),
    "depthwise": lambda: _alone(_conv(8, 8, 3, 3, pads=(1, 1, 1, 1), groups=8, clamp=RELU6), out=(0, 6)),
    "depthwise_stride": lambda: _alone(_conv(8, 8, 5, 5, stride=2, pads=(2, 2, 2, 2), groups=8)),
    "depthwise_multiplier": lambda: _alone(_conv(16, 8, 3, 3, groups=8)),
    "depthwise_dilated": lambda: _alone(_conv(8, 8, 3, 3, pads=(2, 2, 2, 2), dilation=2, groups=8)),
    "transposed_conv": lambda: _alone(_transposed(2, 2, (0, 0, 0, 0)), (8, 5, 4)),
    "transposed_conv_cut": lambda: _alone(_transposed(3, 2, (1, 1, 0, 0), RELU), (8, 5, 4), (0, 3)),
    "linear": lambda: _alone(_linear(30, 50), (50,)),
    "linear_relu": lambda: _alone(_linear(30, 50, RELU), (50,), (0, 3)),
    "linear_rows": lambda: _alone(_linear(30, 50), (6, 50)),
    "add": lambda: _both(Add()),
    "add_relu": lambda: _both(Add(RELU), out=(0, 1.6)),
    "add_one_place": lambda: _both(Add(), turn=GlobalMean()),
    "add_shift": lambda: _alone(Shift(0.7)),
    "add_constant": lambda: _alone(AddConstant(drawn(7, 8, 1, 1))),
    "mul": lambda: _both(Mul(), out=(-1.0, 0.9)),
    "mul_relu6": lambda: _both(Mul(RELU6), out=(0, 0.9)),
    "mul_one_place": lambda: _both(Mul(), out=(-1.0, 0.9), turn=GlobalMean()),
    "mul_constant": lambda: _alone(MulConstant(drawn(7, 8, 1, 1)), out=(-1.5, 1.5)),
    "requantize": lambda: _alone(Requantize(), out=(-0.8, 1.1)),
    "relu": lambda: _alone(Requantize(RELU), out=(0, 1.2)),
    "leaky_relu": lambda: _alone(LeakyRelu(0.1), out=(-0.1, 1.5)),
    "sigmoid": lambda: _alone(Sigmoid()),
    "tanh": lambda: _alone(Tanh()),
    "gelu": lambda: _alone(Gelu(), out=(-0.2, 1.4)),
    "elu": lambda: _alone(Elu(), out=(-0.65, 1.5)),
    "softmax": lambda: _alone(Softmax(0), (11,)),
    "softmax_rows": lambda: _alone(Softmax(1), (6, 11)),
    "max_pool": lambda: _alone(MaxPool((2, 2), (2, 2), (0, 0, 0, 0))),
    "max_pool_same": lambda: _alone(MaxPool((3, 3), (2, 2), (1, 1, 1, 1))),
    "max_pool_pads": lambda: _alone(MaxPool((3, 3), (2, 2), (1, 1, 0, 2))),
    "global_mean": lambda: _alone(GlobalMean(), out=(-0.6, 0.9)),
    "concat": lambda: _both(Concat(0), out=INPUT),
    "pad": lambda: _alone(Pad((0, 1, 2, 0, 3, 1))),
    "pad_value": lambda: _alone(Pad((0, 1, 2, 0, 3, 1), value=0.7)),
    "pad_reflect": lambda: _alone(Pad((0, 1, 2, 0, 2, 1), "reflect")),
    "pad_edge": lambda: _alone(Pad((0, 1, 1, 0, 1, 1), "edge")),
    "reshape": lambda: _alone(Reshape((504,))),
    "permute": lambda: _alone(Permute((1, 0)), (6, 11)),
    "slice": lambda: _alone(Slice(0, 2, 7)),
    "slice_step": lambda: _alone(Slice(0, 1, 8, 2)),
    "nearest": lambda: _alone(Nearest((2, 2))),
    "bilinear": lambda: _alone(Bilinear((2, 2)), out=(-0.9, 1.4)),
    "matmul": lambda: _both(MatMul(), (3, 6, 6), (-1.5, 1.5)),
    "matmul_turned": lambda: _both(MatMul(turn_b=True), (3, 6, 11), (-1.5, 1.5)),
    "layer_norm": lambda: _alone(_norm(50), (6, 50)),
    "softmax_masked": lambda: _alone(Softmax(1, drawn(5, 6, 11)), (6, 11)),
    "conv_float": lambda: _alone(_conv(12, 8, 3, 3, clamp=RELU), numbers="float"),
    "linear_float": lambda: _alone(_linear(30, 50), (50,), numbers="float"),
    "add_float": lambda: _alone(Shift(0.7), numbers="float"),
    "gelu_float": lambda: _alone(Gelu(), numbers="float"),
    "gelu_float_behind": lambda: _behind(Gelu()),
    "linear_dynamic": lambda: _alone(_linear(30, 50), (50,), numbers="dynamic"),
    "linear_rows_dynamic": lambda: _alone(_linear(30, 50), (6, 50), numbers="dynamic"),
    "conv_dynamic": lambda: _alone(_conv(12, 8, 3, 3), numbers="dynamic"),
    "lstm_float": lambda: _recurrent(nn.LSTM, "float"),
    "lstm_dynamic": lambda: _recurrent(nn.LSTM, "dynamic"),
    "gru_float": lambda: _recurrent(nn.GRU, "float"),
    "gru_dynamic": lambda: _recurrent(nn.GRU, "dynamic"),
}
RECURRENT = tuple(n for n in GOLDEN if n.startswith(("lstm", "gru")))
ONNX = tuple(n for n in GOLDEN if n != "conv_dynamic")  # an .onnx has dynamic linear layers only


@cache
def golden(name: str, format: Format, weight_max: int = WEIGHT_MAX) -> Quantized:
    return GOLDEN[name]().quantized(format, weight_max)


@cache
def written(name: str, format: Format, weight_max: int = WEIGHT_MAX) -> bytes:
    return (tflite_bytes if format == "tflite" else onnx_bytes)(golden(name, format, weight_max))


def samples(shape: Shape, count: int = 4) -> NDArray[np.float32]:
    """Real inputs [count, *shape] for the .onnx over the input's range, the last one beyond it: it saturates."""
    x = np.random.RandomState(11).uniform(-1.0, 1.5, (count, *shape)).astype(np.float32)
    x[-1] *= 2
    return x
