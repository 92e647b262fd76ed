"""Convolution in one and two dimensions: any stride, padding on each side, dilation, groups, depthwise."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from edgelr.graph.arithmetic import IntegerWeights, centred, exact_parts, f32, requantize
from edgelr.graph.ops.base import NO_CLAMP, Array, Clamp, NodeLike, OnnxSpeller, Shape, TfliteSpeller, Weighted, activation, bounded
from edgelr.vocabulary import Grid


@dataclass(frozen=True, eq=False)
class Conv(Weighted):
    """``weight`` [n, c/groups, *k], ``bias`` [n]; ``pads`` zeros before each spatial axis, then after each (ONNX's order)."""

    weight: Tensor
    bias: Tensor
    stride: tuple[int, ...]
    pads: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int = 1
    clamp: Clamp = NO_CLAMP
    spatial: ClassVar[bool] = True

    @property
    def depthwise(self) -> bool:
        return self.groups > 1 and self.weight.shape[1] == 1

    @property
    def extent(self) -> tuple[int, ...]:
        """How far the dilated kernel reaches on each spatial axis."""
        return tuple(d * (k - 1) + 1 for d, k in zip(self.dilation, self.weight.shape[2:], strict=True))

    def shape(self, *inputs: Shape) -> Shape:
        d = len(self.stride)
        sizes = zip(inputs[0][1:], self.pads[:d], self.pads[d:], self.extent, self.stride, strict=True)
        return (self.weight.shape[0], *((i + before + after - e) // s + 1 for i, before, after, e, s in sizes))

    def _conv(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        d = len(self.stride)
        before, after = self.pads[:d], self.pads[d:]
        padding = before
        if before != after:  # torch pads both sides alike; its F.pad names the last axis first
            x = F.pad(x, [p for pair in zip(reversed(before), reversed(after), strict=True) for p in pair])
            padding = (0,) * d
        function = F.conv1d if d == 1 else F.conv2d
        return function(x, weight, bias, self.stride, padding, self.dilation, self.groups)

    def run(self, *inputs: Tensor) -> Tensor:
        return bounded(self._conv(inputs[0], self.weight, self.bias), self.clamp)

    def integer(self, inputs: Sequence[Tensor], grids: Sequence[Grid], out: Grid, weights: IntegerWeights | None) -> Tensor:
        assert weights is not None
        x = centred(inputs[0], grids[0])
        acc: Tensor | float = 0.0
        for factor, weight in exact_parts(grids[0], weights):
            acc = acc + factor * self._conv(x.to(weight.dtype), weight, weight.new_zeros(len(weight))).double()
        channels = (1, -1, *(1,) * len(self.stride))
        acc = acc + weights.bias.double().view(channels)  # the bias alone may pass 2^24
        return requantize(acc, (f32(grids[0].scale) * weights.scale / f32(out.scale)).view(channels), out)

    def tflite(self, w: TfliteSpeller, node: NodeLike) -> None:
        x, source = node.inputs[0], w.read(node.inputs[0])
        one = len(self.stride) == 1  # a 1-d convolution is written as a 2-d one of height 1
        stride, dilation = ((1, *v) if one else v for v in (self.stride, self.dilation))
        pads = (0, self.pads[0], 0, self.pads[1]) if one else self.pads
        extent = (1, *self.extent) if one else self.extent
        height, width = w.shape(x)[1:3]
        padding = "VALID"
        if any(pads):
            if _is_same((height, width), extent, stride, pads):
                padding = "SAME"
            else:
                n, _, _, c = w.shape(x)
                padded = w.temporary(f"{node.name}/pad", (n, height + pads[0] + pads[2], width + pads[1] + pads[3], c), x)
                amounts = w.ints(f"{node.name}/pads", [[0, 0], [pads[0], pads[2]], [pads[1], pads[3]], [0, 0]])
                w.emit("PAD", 2, [source, amounts], padded, "Pad")
                source = padded
        kind = "DEPTHWISE_CONV_2D" if self.depthwise else "CONV_2D"
        axes, axis = ((1, 2, 3, 0), 3) if self.depthwise else ((0, 2, 3, 1), 0)
        fields = {"depthMultiplier": self.weight.shape[0] // self.groups} if self.depthwise else {}

        def arrange(weight: Array) -> Array:
            return np.ascontiguousarray((weight[:, :, None] if one else weight).transpose(axes))

        w.emit(kind, 3, [source, *w.parameters(node, arrange, axis)], w.write(node.name), "DepthwiseConv2D" if self.depthwise else "Conv2D",
               padding=padding, strideH=stride[0], strideW=stride[1], dilationHFactor=dilation[0], dilationWFactor=dilation[1],
               fusedActivationFunction=activation(self.clamp), **fields)

    def onnx(self, w: OnnxSpeller, node: NodeLike) -> None:
        inputs = [w.read(node.inputs[0]), *w.parameters(node)]
        w.write(node.name, w.emit("Conv", inputs, node.name, kernel_shape=list(self.weight.shape[2:]), strides=list(self.stride),
                                  pads=list(self.pads), dilations=list(self.dilation), group=self.groups))


def _is_same(sizes: Sequence[int], extent: Sequence[int], stride: Sequence[int], pads: Sequence[int]) -> bool:
    """Whether TFLite's SAME padding is these pads: output ceil(i / s), the odd zero after."""
    for axis, (i, e, s) in enumerate(zip(sizes, extent, stride, strict=True)):
        total = max((-(-i // s) - 1) * s + e - i, 0)
        if (pads[axis], pads[axis + 2]) != (total // 2, total - total // 2):
            return False
    return True
