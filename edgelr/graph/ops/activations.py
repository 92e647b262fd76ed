"""Sigmoid and leaky ReLU, on integers in both runtimes. Hard-swish and hard-sigmoid are convolutions and products."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from edgelr.graph.arithmetic import IntegerWeights, dequantize, quantize
from edgelr.graph.ops.base import NodeLike, OnnxSpeller, Op, Shape, TfliteSpeller
from edgelr.vocabulary import Grid

UNIT = Grid(1 / 256, -128)  # TFLite fixes the output of sigmoid and softmax to this grid


@dataclass(frozen=True, eq=False)
class Sigmoid(Op):
    """1 / (1 + exp(-x))."""

    fixed: ClassVar[Grid | None] = UNIT

    def shape(self, *inputs: Shape) -> Shape:
        return inputs[0]

    def run(self, *inputs: Tensor) -> Tensor:
        return torch.sigmoid(inputs[0])

    def integer(self, inputs: Sequence[Tensor], grids: Sequence[Grid], out: Grid, weights: IntegerWeights | None) -> Tensor:
        return quantize(self.run(dequantize(inputs[0], grids[0])), out)

    def tflite(self, w: TfliteSpeller, node: NodeLike) -> None:
        w.emit("LOGISTIC", 1 if w.floating(node.name) else 2, [w.read(node.inputs[0])], w.write(node.name))

    def onnx(self, w: OnnxSpeller, node: NodeLike) -> None:
        w.write(node.name, w.emit("Sigmoid", [w.read(node.inputs[0])], node.name))


@dataclass(frozen=True, eq=False)
class LeakyRelu(Op):
    """x where positive, else ``slope`` * x."""

    slope: float

    def shape(self, *inputs: Shape) -> Shape:
        return inputs[0]

    def run(self, *inputs: Tensor) -> Tensor:
        return F.leaky_relu(inputs[0], self.slope)

    def integer(self, inputs: Sequence[Tensor], grids: Sequence[Grid], out: Grid, weights: IntegerWeights | None) -> Tensor:
        return quantize(self.run(dequantize(inputs[0], grids[0])), out)

    def tflite(self, w: TfliteSpeller, node: NodeLike) -> None:
        w.emit("LEAKY_RELU", 1 if w.floating(node.name) else 2, [w.read(node.inputs[0])], w.write(node.name), "LeakyRelu", alpha=self.slope)

    def onnx(self, w: OnnxSpeller, node: NodeLike) -> None:
        w.write(node.name, w.emit("LeakyRelu", [w.read(node.inputs[0])], node.name, alpha=self.slope))
