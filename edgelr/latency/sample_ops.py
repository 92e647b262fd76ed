"""From the key of an operation to the graph's operation that is written as it."""
from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

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
    GroupNorm,
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
    Requantize,
    Sigmoid,
    Slice,
    Softmax,
    Tanh,
)
from edgelr.graph.ops.base import Clamp
from edgelr.graph.ops.gates import GateMatrix
from edgelr.graph.ops.recurrent import Gru, Lstm, Recurrent
from edgelr.latency.loops import layer_of
from edgelr.latency.operation import Operation, Shape
from edgelr.latency.sample_raw import RAW, Raw, flat
from edgelr.vocabulary import Format

_CLAMPS: dict[str, Clamp] = {"none": NO_CLAMP, "relu": RELU, "relu6": RELU6, "relu_n1_to_1": (-1.0, 1.0)}
_IMAGES = {"reorder_input", "reorder_output", "conv", "depthwise", "conv_transpose", "maxpool", "mean", "resize_nearest", "resize_bilinear"}
_AS_WRITTEN = {"matmul", "softmax", "layer_norm", "linear", "lstm", "gru"}


@dataclass(frozen=True)
class Made:
    """An operation of the graph, and the shapes of its inputs as torch has them, without the batch."""

    op: Op
    inputs: tuple[Shape, ...]


def make(operation: Operation, format: Format) -> Made:
    """Raises LookupError or ValueError where the graph has no such operation."""
    if operation.op in RAW[format] and (operation.op, operation.detail) != ("mean", "axes1x2"):
        return Made(Raw(operation), tuple(flat(s) for s in operation.inputs))
    if operation.op == "loop":
        return _loop(operation, format)
    inputs = tuple(_torch(operation, s, format) for s in operation.inputs)
    op = _MAKERS[operation.op](operation, inputs, _torch(operation, operation.output, format))
    return Made(op if operation.activation == "none" else replace(op, clamp=_CLAMPS[operation.activation]), inputs)  # type: ignore[type-var]


def _torch(operation: Operation, shape: Shape, format: Format) -> Shape:
    """A shape as torch has it, without the batch: channels first where the writer puts them last, or ONNX Runtime on the way there."""
    if shape[0] != 1:
        raise ValueError(f"a batch of {shape[0]}")
    rest, float_image = shape[1:], format == "onnx" and operation.numbers != "int8" and operation.op not in _AS_WRITTEN
    return (rest[-1], *rest[:-1]) if operation.op in _IMAGES or (float_image and len(rest) == 3) else rest


def _numbers(pattern: str, detail: str) -> list[int]:
    match = re.fullmatch(pattern, detail)
    if match is None:
        raise ValueError(detail)
    return [int(n) for n in re.findall(r"\d+", detail)]


def _dilation(o: Operation, d: int) -> tuple[int, ...]:
    given = _numbers(r"-|dilation\d+(x\d+)?", o.detail) or [1]
    both = (given[0], given[-1])
    return tuple(f if k > 1 else 1 for f, k in zip(both, o.kernel, strict=True))[-d:]


def _pads(o: Operation, x: Shape, y: Shape, dilation: tuple[int, ...]) -> tuple[int, ...]:
    """Zeros that make the output's shape, the odd one after."""
    d = len(x) - 1
    reach = [(k - 1) * f + 1 for k, f in zip(o.kernel[-d:], dilation, strict=True)]
    total = [max((n - 1) * s + e - i, 0) for n, s, e, i in zip(y[1:], o.stride[-d:], reach, x[1:], strict=True)]
    return (*(t // 2 for t in total), *(t - t // 2 for t in total))


def _conv(o: Operation, inputs: tuple[Shape, ...], y: Shape) -> Op:
    x = inputs[0]
    d = len(x) - 1
    dilation = _dilation(o, d)
    groups = x[0] if o.op == "depthwise" else o.groups
    weight = torch.randn(y[0], x[0] // groups, *o.kernel[-d:])
    return Conv(weight, torch.randn(y[0]), o.stride[-d:], _pads(o, x, y, dilation), dilation, groups)


def _conv_transpose(o: Operation, inputs: tuple[Shape, ...], y: Shape) -> Op:
    x = inputs[0]
    d = len(x) - 1
    whole = [(i - 1) * s + k for i, s, k in zip(x[1:], o.stride[-d:], o.kernel[-d:], strict=True)]
    cut = [w - n for w, n in zip(whole, y[1:], strict=True)]
    return ConvTranspose(torch.randn(y[0], x[0], *o.kernel[-d:]), torch.randn(y[0]), o.stride[-d:],
                         (*(c // 2 for c in cut), *(c - c // 2 for c in cut)))


def _linear(o: Operation, inputs: tuple[Shape, ...], y: Shape) -> Op:
    return Linear(torch.randn(y[-1], inputs[0][-1]), torch.randn(y[-1]))


def _reorder(o: Operation, inputs: tuple[Shape, ...], y: Shape) -> Op:
    c = y[0]
    return Conv(torch.randn(c, c, 1, 1), torch.randn(c), (1, 1), (0, 0, 0, 0), (1, 1))


def _maxpool(o: Operation, inputs: tuple[Shape, ...], y: Shape) -> Op:
    d = len(y) - 1
    return MaxPool(o.kernel[-d:], o.stride[-d:], _pads(o, inputs[0], y, (1,) * d))


def _pair(plain: Callable[[], Op], stored: Callable[[Tensor], Op]) -> Callable[[Operation, tuple[Shape, ...], Shape], Op]:
    def made(o: Operation, inputs: tuple[Shape, ...], y: Shape) -> Op:
        if o.detail in ("-", "twice"):
            return plain()
        shape = _numbers(r"constant\d+(x\d+)*", o.detail)[1:]
        if len(y) == 3 and len(o.output) == 4 and y != o.output[1:]:
            shape = [shape[-1], *shape[:-1]] if shape else []
        return stored(torch.rand(shape or (1,) * len(y)) + 0.5)

    return made


def _concat(o: Operation, inputs: tuple[Shape, ...], y: Shape) -> Op:
    axis = _numbers(r"axis\d+", o.detail)[0] - 1
    return Concat(axis if y == o.output[1:] else (axis + 1) % len(y))


def _slice(o: Operation, inputs: tuple[Shape, ...], y: Shape) -> Op:
    step = (_numbers(r"-|step\d+", o.detail) or [1])[0]
    (axis,) = [a for a, (n, m) in enumerate(zip(inputs[0], y, strict=True)) if n != m] or [0]
    return Slice(axis, 0, inputs[0][axis] if step > 1 else y[axis], step)


def _pad(o: Operation, inputs: tuple[Shape, ...], y: Shape) -> Op:
    more = [m - n for n, m in zip(inputs[0], y, strict=True)]
    return Pad((*(m // 2 for m in more), *(m - m // 2 for m in more)), "constant" if o.detail == "-" else o.detail)


def _factors(inputs: tuple[Shape, ...], y: Shape) -> tuple[int, ...]:
    return tuple(m // n for n, m in zip(inputs[0][1:], y[1:], strict=True))


def _layer_norm(o: Operation, inputs: tuple[Shape, ...], y: Shape) -> Op:
    over = y[_numbers(r"axes\d+(x\d+)*", o.detail)[0] - 1 :]
    return LayerNorm(torch.rand(over) + 0.5, torch.randn(over), 1e-5)


def _group_norm(o: Operation, inputs: tuple[Shape, ...], y: Shape) -> Op:
    return GroupNorm(y[0], torch.rand(y[0]) + 0.5, torch.randn(y[0]), 1e-5)


def _recurrent(o: Operation, inputs: tuple[Shape, ...], y: Shape) -> Op:
    kinds: dict[str, type[Recurrent]] = {"lstm": Lstm, "gru": Gru}
    kind = kinds[o.op]
    n, k = kind.gates * y[-1], inputs[0][-1]
    ih, hh = GateMatrix((torch.randn(n, k) / 8,)), GateMatrix((torch.randn(n, y[-1]) / 8,))
    return kind(ih, hh, torch.randn(n), torch.randn(n))


def _loop(o: Operation, format: Format) -> Made:
    """A recurrent layer with this loop."""
    layer = layer_of(o)
    if layer.format != format:
        raise ValueError(f"a loop of another format than .{format}")
    n, width, products = layer.hidden, layer.gates * layer.hidden, list(layer.products)
    hr = None
    if layer.outputs != n:
        products.remove((n, layer.outputs))
        hr = torch.randn(layer.outputs, n)
    matrices = [torch.randn(b, a) / 8 for a, b in products]
    hh = GateMatrix(tuple(matrices)) if len(matrices) == 1 else GateMatrix(tuple(matrices[1:]), matrices[0])
    if (hh.rows, hh.inputs) != (width, layer.outputs):
        raise ValueError("its products aren't those of its gates")
    ih, zeros = GateMatrix((torch.randn(width, 8) / 8,)), torch.zeros(width)
    if layer.gates == 3:
        return Made(Gru(ih, hh, zeros, zeros, form="loop", last=layer.last), ((layer.steps, 8),))
    return Made(Lstm(ih, hh, zeros, zeros, form="loop", last=layer.last, hr=hr), ((layer.steps, 8),))


def _plain(op: Op) -> Callable[[Operation, tuple[Shape, ...], Shape], Op]:
    return lambda o, inputs, y: op


_MAKERS: dict[str, Callable[[Operation, tuple[Shape, ...], Shape], Op]] = {
    "conv": _conv, "depthwise": _conv, "conv_transpose": _conv_transpose, "linear": _linear, "maxpool": _maxpool,
    "add": _pair(Add, AddConstant), "mul": _pair(Mul, MulConstant), "concat": _concat, "slice": _slice, "pad": _pad,
    "matmul": lambda o, i, y: MatMul(o.detail in ("turn_a", "turn_ab"), o.detail in ("turn_b", "turn_ab")),
    "mean": _plain(GlobalMean()), "sigmoid": _plain(Sigmoid()), "lut": _plain(Sigmoid()), "tanh": _plain(Tanh()), "elu": _plain(Elu()),
    "gelu": lambda o, i, y: Gelu(o.detail == "tanh"), "leaky_relu": _plain(LeakyRelu(0.1)), "requantize": _plain(Requantize()),
    "relu": _plain(Requantize(RELU)), "relu6": _plain(Requantize(RELU6)), "clip": _plain(Requantize((-2.0, 2.0))),
    "maximum": _plain(Requantize((-2.0, float("inf")))), "minimum": _plain(Requantize((float("-inf"), 2.0))),
    "relu_n1_to_1": _plain(Requantize((-1.0, 1.0))),
    "softmax": lambda o, i, y: Softmax(len(y) - 1 if o.detail == "-" else _numbers(r"axis\d+", o.detail)[0] - 1),
    "resize_nearest": lambda o, i, y: Nearest(_factors(i, y)), "resize_bilinear": lambda o, i, y: Bilinear(_factors(i, y)),  # type: ignore[arg-type]
    "reorder_input": _reorder, "reorder_output": _reorder,
    "layer_norm": _layer_norm, "instance_norm": _group_norm, "lstm": _recurrent, "gru": _recurrent,
}  # fmt: skip
