"""Layer and group normalisation: in float always, since neither runtime has an integer kernel and one of integer steps is slower."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar, Literal

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from edgelr.graph.ops.base import Array, NodeLike, OnnxSpeller, Op, Shape, TfliteSpeller

NO_KERNEL = "neither runtime normalises on integers"


def _normal(w: TfliteSpeller, name: str, source: int, shape: Sequence[int], over: Sequence[int], eps: float) -> int:
    """(x - mean) / sqrt(variance + eps) over the axes ``over``, of operators that XNNPACK has."""
    axes, one = w.ints(f"{name}/axes", list(over)), [1 if a in over else n for a, n in enumerate(shape)]

    def part(kind: str, like: Sequence[int]) -> int:
        return w.temporary(f"{name}/{kind}", like, name)

    mean, variance, floored, deviation = (part(kind, one) for kind in ("mean", "variance", "floored", "deviation"))
    centred, squared, normal = (part(kind, shape) for kind in ("centred", "squared", "normal"))
    w.emit("MEAN", 1, [source, axes], mean, "Reducer", keepDims=True)
    w.emit("SUB", 1, [source, mean], centred, "Sub", fusedActivationFunction="NONE")
    w.emit("MUL", 1, [centred, centred], squared, "Mul", fusedActivationFunction="NONE")
    w.emit("MEAN", 1, [squared, axes], variance, "Reducer", keepDims=True)
    w.emit("ADD", 1, [variance, w.reals("", [eps])], floored, "Add", fusedActivationFunction="NONE")
    w.emit("RSQRT", 1, [floored], deviation)
    w.emit("MUL", 1, [centred, deviation], normal, "Mul", fusedActivationFunction="NONE")
    return normal


def _affine(w: TfliteSpeller, name: str, normal: int, weight: Array, bias: Array) -> None:
    scaled = w.temporary(f"{name}/scaled", w.shape(name), name)
    w.emit("MUL", 1, [normal, w.reals("", weight)], scaled, "Mul", fusedActivationFunction="NONE")
    w.emit("ADD", 1, [scaled, w.reals("", bias)], w.write(name), "Add", fusedActivationFunction="NONE")


@dataclass(frozen=True, eq=False)
class LayerNorm(Op):
    """(x - mean) / sqrt(variance + eps) * ``weight`` + ``bias`` over the last axes, those of ``weight`` and ``bias``."""

    weight: Tensor
    bias: Tensor
    eps: float

    def float_reason(self, format: Literal["tflite", "onnx"]) -> str:
        return NO_KERNEL

    def shape(self, *inputs: Shape) -> Shape:
        return inputs[0]

    def run(self, *inputs: Tensor) -> Tensor:
        return F.layer_norm(inputs[0], tuple(self.weight.shape), self.weight, self.bias, self.eps)

    def tflite(self, w: TfliteSpeller, node: NodeLike) -> None:
        shape = w.shape(node.name)
        axes = range(len(shape) - self.weight.dim(), len(shape))
        normal = _normal(w, node.name, w.read(node.inputs[0]), shape, axes, self.eps)
        _affine(w, node.name, normal, self.weight.detach().numpy(), self.bias.detach().numpy())

    def onnx(self, w: OnnxSpeller, node: NodeLike) -> None:
        inputs = [w.read(node.inputs[0]), w.reals(self.weight.detach().numpy()), w.reals(self.bias.detach().numpy())]
        w.write(node.name, w.emit("LayerNormalization", inputs, node.name, axis=-self.weight.dim(), epsilon=self.eps))


@dataclass(frozen=True, eq=False)
class GroupNorm(Op):
    """As ``LayerNorm``, over the channels of each of ``groups`` and all places; ``weight`` and ``bias`` [channels]."""

    groups: int
    weight: Tensor
    bias: Tensor
    eps: float
    spatial: ClassVar[bool] = True

    def float_reason(self, format: Literal["tflite", "onnx"]) -> str:
        return NO_KERNEL

    def shape(self, *inputs: Shape) -> Shape:
        return inputs[0]

    def run(self, *inputs: Tensor) -> Tensor:
        return F.group_norm(inputs[0], self.groups, self.weight, self.bias, self.eps)

    def tflite(self, w: TfliteSpeller, node: NodeLike) -> None:
        name, source, (n, height, width, c) = node.name, w.read(node.inputs[0]), w.shape(node.name)
        if self.groups == 1:
            normal = _normal(w, name, source, (n, height, width, c), (1, 2, 3), self.eps)
        else:
            apart, whole = [n, height * width, self.groups, c // self.groups], [n, height, width, c]
            grouped, back = w.temporary(f"{name}/grouped", apart, name), w.temporary(f"{name}/joined", whole, name)
            w.emit("RESHAPE", 1, [source, w.ints("", apart)], grouped, "Reshape", newShape=apart)
            w.emit("RESHAPE", 1, [_normal(w, name, grouped, apart, (1, 3), self.eps), w.ints("", whole)], back, "Reshape", newShape=whole)
            normal = back
        _affine(w, name, normal, self.weight.detach().numpy(), self.bias.detach().numpy())

    def onnx(self, w: OnnxSpeller, node: NodeLike) -> None:
        """An instance norm of each group as one channel: a GroupNormalization with a weight for each channel is newer (opset 21)."""
        name, shape = node.name, w.torch_shape(node.name)
        length = prod(shape) // self.groups
        rows = w.emit("Reshape", [w.read(node.inputs[0]), w.constant("", np.array([-1, self.groups, length], np.int64))], f"{name}/rows")
        ones, zeros = w.reals(np.ones(self.groups)), w.reals(np.zeros(self.groups))
        normal = w.emit("InstanceNormalization", [rows, ones, zeros], name, epsilon=self.eps)
        joined = w.emit("Reshape", [normal, w.constant("", np.array([-1, *shape], np.int64))], f"{name}/joined")
        places = (-1, *(1,) * (len(shape) - 1))
        scaled = w.emit("Mul", [joined, w.reals(self.weight.detach().numpy().reshape(places))], f"{name}/scaled")
        w.write(name, w.emit("Add", [scaled, w.reals(self.bias.detach().numpy().reshape(places))], f"{name}/shifted"))
