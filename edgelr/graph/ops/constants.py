"""Sums and products with stored numbers: positional embeddings, class tokens, masks, layer scale, an attention's 1/sqrt(d)."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from torch import Tensor

from edgelr.graph.arithmetic import IntegerWeights, quantize
from edgelr.graph.ops.base import NO_CLAMP, Array, Clamp, NodeLike, OnnxSpeller, Op, Shape, TfliteSpeller, activation, bounded
from edgelr.graph.ops.elementwise import Add, Mul
from edgelr.vocabulary import Grid

SMALLEST = 1e-8  # step of the grid of a constant that is 0 throughout


def constant_grid(value: Tensor) -> Grid:
    """The grid that spans a constant's values and 0. One number lies on its far end."""
    low, high = min(float(value.min()), 0.0), max(float(value.max()), 0.0)
    scale = float(np.float32(max((high - low) / 255, SMALLEST)))
    return Grid(scale, int(np.clip(np.rint(-128 - low / scale), -128, 127)))


@dataclass(frozen=True, eq=False)
class _WithConstant(Op):
    """``value`` has the activation's axes (without batch), each of its length or 1; it may be longer where the activation has 1."""

    value: Tensor
    clamp: Clamp = NO_CLAMP
    onnx_name: ClassVar[str]

    def float_reason(self, format: Literal["tflite", "onnx"]) -> str:
        return "" if bool(self.value.isfinite().all()) else "minus infinity has no place on a grid"

    def shape(self, *inputs: Shape) -> Shape:
        return np.broadcast_shapes(inputs[0], tuple(self.value.shape))

    def integer(self, inputs: Sequence[Tensor], grids: Sequence[Grid], out: Grid, weights: IntegerWeights | None) -> Tensor:
        grid = constant_grid(self.value)
        operation = Add() if self.onnx_name == "Add" else Mul()
        return operation.integer((inputs[0], quantize(self.value, grid)[None]), (grids[0], grid), out, None)

    def tflite(self, w: TfliteSpeller, node: NodeLike) -> None:
        written = self.written(w.order(node.name))
        floating = w.floating(node.name)
        constant = w.constant(f"{node.name}/constant", written, None if floating else constant_grid(self.value))
        kind = self.onnx_name
        w.emit(kind.upper(), 1 if floating else 2, [w.read(node.inputs[0]), constant], w.write(node.name), kind,
               fusedActivationFunction=activation(self.clamp))

    def written(self, order: Sequence[int | None]) -> Array:
        """The constant in the axes ``order`` of a file (``TfliteSpeller.order``); one number on one axis."""
        value: Array = self.value.detach().numpy()
        if value.size == 1:
            return value.reshape(1)
        turned = value[None].transpose([a for a in order if a is not None])
        return np.ascontiguousarray(np.expand_dims(turned, [i for i, a in enumerate(order) if a is None]))

    def onnx(self, w: OnnxSpeller, node: NodeLike) -> None:
        w.write(node.name, w.emit(self.onnx_name, [w.read(node.inputs[0]), self._stored(w, node)], node.name))

    def _stored(self, w: OnnxSpeller, node: NodeLike) -> Any:
        if w.floating(node.name):
            return w.reals(self.value.detach().numpy())
        grid = constant_grid(self.value)
        if self.value.numel() == 1:
            return w.scalar(f"{node.name}/constant", int(quantize(self.value, grid)), grid)
        integers = (quantize(self.value, grid) + 128).numpy().astype(np.uint8)
        parameters = [w.constant("", np.float32(grid.scale)), w.constant("", np.uint8(grid.zero_point + 128))]
        return w.emit("DequantizeLinear", [w.constant("", integers), *parameters], f"{node.name}/constant")


@dataclass(frozen=True, eq=False)
class AddConstant(_WithConstant):
    """x + ``value``."""

    onnx_name: ClassVar[str] = "Add"

    def run(self, *inputs: Tensor) -> Tensor:
        return bounded(inputs[0] + self.value, self.clamp)


@dataclass(frozen=True, eq=False)
class MulConstant(_WithConstant):
    """x * ``value``."""

    onnx_name: ClassVar[str] = "Mul"

    def run(self, *inputs: Tensor) -> Tensor:
        return bounded(inputs[0] * self.value, self.clamp)
