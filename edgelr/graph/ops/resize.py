"""Upsampling by whole factors: nearest and bilinear."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from edgelr.graph.arithmetic import IntegerWeights, dequantize, quantize
from edgelr.graph.ops.base import NodeLike, OnnxSpeller, Op, Shape, TfliteSpeller
from edgelr.vocabulary import Grid


@dataclass(frozen=True, eq=False)
class Nearest(Op):
    """Each value repeated ``factors`` times on each spatial axis."""

    factors: tuple[int, ...]
    tied: ClassVar[bool] = True
    spatial: ClassVar[bool] = True

    def shape(self, *inputs: Shape) -> Shape:
        return (inputs[0][0], *(i * f for i, f in zip(inputs[0][1:], self.factors, strict=True)))

    def run(self, *inputs: Tensor) -> Tensor:
        return F.interpolate(inputs[0], scale_factor=[float(f) for f in self.factors], mode="nearest")

    def integer(self, inputs: Sequence[Tensor], grids: Sequence[Grid], out: Grid, weights: IntegerWeights | None) -> Tensor:
        return self.run(inputs[0])

    def tflite(self, w: TfliteSpeller, node: NodeLike) -> None:
        sizes = w.ints(f"{node.name}/size", w.shape(node.name)[1:3])
        w.emit("RESIZE_NEAREST_NEIGHBOR", 2, [w.read(node.inputs[0]), sizes], w.write(node.name), "ResizeNearestNeighbor",
               alignCorners=False, halfPixelCenters=False)

    def onnx(self, w: OnnxSpeller, node: NodeLike) -> None:
        scales = w.constant(f"{node.name}/scales", np.array([1, 1, *self.factors], np.float32))
        w.write(node.name, w.emit("Resize", [w.read(node.inputs[0]), None, scales], node.name, mode="nearest",
                                  coordinate_transformation_mode="asymmetric", nearest_mode="floor"))


@dataclass(frozen=True, eq=False)
class Bilinear(Op):
    """Bilinear interpolation by whole ``factors`` with half-pixel centres (torch's align_corners=False).

    The output has a grid of its own: on one grid ONNX Runtime would interpolate the integers and cut them off, not round.
    """

    factors: tuple[int, int]
    spatial: ClassVar[bool] = True

    def shape(self, *inputs: Shape) -> Shape:
        return (inputs[0][0], *(i * f for i, f in zip(inputs[0][1:], self.factors, strict=True)))

    def run(self, *inputs: Tensor) -> Tensor:
        return F.interpolate(inputs[0], scale_factor=[float(f) for f in self.factors], mode="bilinear", align_corners=False)

    def integer(self, inputs: Sequence[Tensor], grids: Sequence[Grid], out: Grid, weights: IntegerWeights | None) -> Tensor:
        return quantize(self.run(dequantize(inputs[0], grids[0])), out)

    def tflite(self, w: TfliteSpeller, node: NodeLike) -> None:
        x = node.inputs[0]
        n, height, width, c = w.shape(node.name)
        sizes = w.ints(f"{node.name}/size", [height, width])
        floating = w.floating(node.name)  # on integers RESIZE_BILINEAR keeps its input's grid
        resized = w.write(node.name) if floating else w.temporary(f"{node.name}/resized", (n, height, width, c), x)
        w.emit("RESIZE_BILINEAR", 3, [w.read(x), sizes], resized, "ResizeBilinear", alignCorners=False, halfPixelCenters=True)
        if not floating:
            w.emit("QUANTIZE", 2, [resized], w.write(node.name), "Quantize")

    def onnx(self, w: OnnxSpeller, node: NodeLike) -> None:
        scales = w.constant(f"{node.name}/scales", np.array([1, 1, *self.factors], np.float32))
        w.write(node.name, w.emit("Resize", [w.read(node.inputs[0]), None, scales], node.name, mode="linear",
                                  coordinate_transformation_mode="half_pixel"))
