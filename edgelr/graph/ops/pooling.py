"""Pooling: the maximum over windows, and the mean over all places. Average pooling over windows is a convolution (``lower``)."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from edgelr.graph.arithmetic import IntegerWeights, centred, f32, requantize
from edgelr.graph.ops.base import NO_CLAMP, Clamp, NodeLike, OnnxSpeller, Op, Shape, TfliteSpeller, bounded
from edgelr.graph.ops.conv import _is_same
from edgelr.vocabulary import Grid


@dataclass(frozen=True, eq=False)
class MaxPool(Op):
    """Maximum over windows. ``pads`` before each spatial axis, then after each, never chosen as the maximum."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    pads: tuple[int, ...]
    tied: ClassVar[bool] = True
    spatial: ClassVar[bool] = True

    def shape(self, *inputs: Shape) -> Shape:
        d = len(self.kernel)
        sizes = zip(inputs[0][1:], self.pads[:d], self.pads[d:], self.kernel, self.stride, strict=True)
        return (inputs[0][0], *((i + before + after - k) // s + 1 for i, before, after, k, s in sizes))

    def _pool(self, x: Tensor, lowest: float) -> Tensor:
        d = len(self.kernel)
        if any(self.pads):
            before, after = self.pads[:d], self.pads[d:]
            x = F.pad(x, [p for pair in zip(reversed(before), reversed(after), strict=True) for p in pair], value=lowest)
        return F.max_pool1d(x, self.kernel, self.stride) if d == 1 else F.max_pool2d(x, self.kernel, self.stride)

    def run(self, *inputs: Tensor) -> Tensor:
        return self._pool(inputs[0], float("-inf"))

    def integer(self, inputs: Sequence[Tensor], grids: Sequence[Grid], out: Grid, weights: IntegerWeights | None) -> Tensor:
        return self._pool(inputs[0], -128)

    def tflite(self, w: TfliteSpeller, node: NodeLike) -> None:
        x, source, one = node.inputs[0], w.read(node.inputs[0]), len(self.kernel) == 1
        kernel, stride = ((1, *v) if one else v for v in (self.kernel, self.stride))
        pads = (0, self.pads[0], 0, self.pads[1]) if one else self.pads
        n, height, width, c = w.shape(x)
        padding = "VALID"
        if any(pads):
            if _is_same((height, width), kernel, stride, pads):
                padding = "SAME"
            else:
                padded = w.temporary(f"{node.name}/pad", (n, height + pads[0] + pads[2], width + pads[1] + pads[3], c), x)
                amounts = w.ints(f"{node.name}/pads", [[0, 0], [pads[0], pads[2]], [pads[1], pads[3]], [0, 0]])
                if w.floating(x):
                    w.emit("PADV2", 2, [source, amounts, w.reals("", [float("-inf")])], padded, "PadV2")
                elif w.grid(x).zero_point == -128:  # after a ReLU the plain zero is the lowest value, and every delegate takes PAD
                    w.emit("PAD", 2, [source, amounts], padded, "Pad")
                else:
                    w.emit("PADV2", 2, [source, amounts, w.scalar(f"{node.name}/lowest", -128, w.grid(x))], padded, "PadV2")
                source = padded
        w.emit("MAX_POOL_2D", 2, [source], w.write(node.name), "Pool2D", padding=padding, strideH=stride[0], strideW=stride[1],
               filterHeight=kernel[0], filterWidth=kernel[1], fusedActivationFunction="NONE")

    def onnx(self, w: OnnxSpeller, node: NodeLike) -> None:
        real = w.emit("MaxPool", [w.read(node.inputs[0])], node.name, kernel_shape=list(self.kernel),
                      strides=list(self.stride), pads=list(self.pads))
        w.write(node.name, real)


@dataclass(frozen=True, eq=False)
class GlobalMean(Op):
    """Mean over all spatial places, which stay as axes of length 1."""

    clamp: Clamp = NO_CLAMP
    spatial: ClassVar[bool] = True

    def shape(self, *inputs: Shape) -> Shape:
        return (inputs[0][0], *(1,) * (len(inputs[0]) - 1))

    def run(self, *inputs: Tensor) -> Tensor:
        return bounded(inputs[0].mean(tuple(range(2, inputs[0].dim())), keepdim=True), self.clamp)

    def integer(self, inputs: Sequence[Tensor], grids: Sequence[Grid], out: Grid, weights: IntegerWeights | None) -> Tensor:
        """MLAS MlasQLinearGlobalAveragePool: the int32 sum times float32(sx / (sy * places))."""
        axes = tuple(range(2, inputs[0].dim()))
        places = prod(inputs[0].shape[2:])
        acc = centred(inputs[0], grids[0]).sum(axes, keepdim=True)  # at most 255 * places: exact in float32 to 65,793 places
        return requantize(acc, f32(grids[0].scale) / (f32(out.scale) * f32(places)), out)

    def tflite(self, w: TfliteSpeller, node: NodeLike) -> None:
        x = node.inputs[0]
        w.emit("MEAN", 2, [w.read(x), w.ints(f"{node.name}/axes", [1, 2])], w.write(node.name), "Reducer", keepDims=True)

    def onnx(self, w: OnnxSpeller, node: NodeLike) -> None:
        w.write(node.name, w.emit("GlobalAveragePool", [w.read(node.inputs[0])], node.name))
