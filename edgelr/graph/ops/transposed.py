"""Transposed convolution in one and two dimensions."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from edgelr.graph.arithmetic import IntegerWeights, centred, exact_parts, f32, requantize
from edgelr.graph.ops.base import NO_CLAMP, Array, Clamp, NodeLike, OnnxSpeller, Shape, TfliteSpeller, Weighted, activation, bounded
from edgelr.vocabulary import Grid


@dataclass(frozen=True, eq=False)
class ConvTranspose(Weighted):
    """``weight`` [out, in, *k] (torch has in first), ``bias`` [out]; ``pads`` cut from the result before each spatial axis, then after.

    A negative pad after an axis is torch's output padding beyond what the windows reach: places that hold the bias alone.
    """

    weight: Tensor
    bias: Tensor
    stride: tuple[int, ...]
    pads: tuple[int, ...]
    clamp: Clamp = NO_CLAMP
    spatial: ClassVar[bool] = True

    def float_reason(self, format: Literal["tflite", "onnx"]) -> str:
        return "ONNX Runtime has no ConvTranspose on integers" if format == "onnx" else ""

    def _sizes(self, places: Sequence[int], pads: bool) -> tuple[int, ...]:
        d = len(self.stride)
        cut = [a + b for a, b in zip(self.pads[:d], self.pads[d:], strict=True)] if pads else [0] * d
        return tuple((i - 1) * s + k - c for i, s, k, c in zip(places, self.stride, self.weight.shape[2:], cut, strict=True))

    def shape(self, *inputs: Shape) -> Shape:
        return (self.weight.shape[0], *self._sizes(inputs[0][1:], True))

    def _conv(self, x: Tensor, weight: Tensor) -> Tensor:
        d = len(self.stride)
        function = F.conv_transpose1d if d == 1 else F.conv_transpose2d
        before, after = self.pads[:d], self.pads[d:]
        return F.pad(function(x, weight.transpose(0, 1), None, self.stride),
                     [-p for pair in zip(reversed(before), reversed(after), strict=True) for p in pair])

    def _channels(self, values: Tensor) -> Tensor:
        return values.view(1, -1, *(1,) * len(self.stride))

    def run(self, *inputs: Tensor) -> Tensor:
        return bounded(self._conv(inputs[0], self.weight) + self._channels(self.bias), self.clamp)

    def integer(self, inputs: Sequence[Tensor], grids: Sequence[Grid], out: Grid, weights: IntegerWeights | None) -> Tensor:
        assert weights is not None
        x = centred(inputs[0], grids[0])
        parts = [factor * self._conv(x.to(w.dtype), w).double() for factor, w in exact_parts(grids[0], weights)]
        acc = sum(parts, self._channels(weights.bias.double()))
        return requantize(acc, self._channels(f32(grids[0].scale) * weights.scale / f32(out.scale)), out)

    def tflite(self, w: TfliteSpeller, node: NodeLike) -> None:
        x, name, one = node.inputs[0], node.name, len(self.stride) == 1
        stride = (1, *self.stride) if one else self.stride
        d = len(self.stride)
        if min(self.pads) < 0:
            raise w.unsupported(name, "an output padding beyond a transposed convolution's windows")
        places = self._sizes(w.torch_shape(x)[1:], False)
        whole = [1, *((1, *places) if one else places), self.weight.shape[0]]
        shape = w.shape(name)
        full = w.write(name) if shape == whole else w.temporary(f"{name}/whole", whole, name)

        def arrange(weight: Array) -> Array:
            return np.ascontiguousarray((weight[:, :, None] if one else weight).transpose(0, 2, 3, 1))

        weight, bias = w.parameters(node, arrange, 0)
        w.emit("TRANSPOSE_CONV", 3, [w.ints(f"{name}/size", whole), weight, w.read(x), bias], full, "TransposeConv", padding="VALID",
               strideH=stride[0], strideW=stride[1], fusedActivationFunction=activation(self.clamp))
        if shape != whole:  # TFLite knows pads of its own two kinds only: compute all, then cut
            begin = [0, *((0, *self.pads[:d]) if one else self.pads[:d]), 0]
            w.emit("SLICE", 2, [full, w.ints(f"{name}/begin", begin), w.ints(f"{name}/size", shape)], w.write(name), "Slice")

    def onnx(self, w: OnnxSpeller, node: NodeLike) -> None:
        d = len(self.stride)
        weight, bias = w.parameters(node)
        turned = w.emit("Transpose", [weight], f"{node.name}/in_first", perm=[1, 0, *range(2, 2 + d)])
        extra = [max(0, -p) for p in self.pads[d:]]
        pads = [*self.pads[:d], *(max(0, p) for p in self.pads[d:])]
        w.write(node.name, w.emit("ConvTranspose", [w.read(node.inputs[0]), turned, bias], node.name, strides=list(self.stride), pads=pads,
                                  kernel_shape=list(self.weight.shape[2:]), output_padding=extra))
