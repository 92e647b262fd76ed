"""ATen's layers with weights: convolutions, linear layers, normalisations."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from edgelr.graph.aten import NotSupportedError, Site, rule
from edgelr.graph.ops import Conv, ConvTranspose, GroupNorm, LayerNorm, Linear


def each(value: int | Sequence[int], d: int) -> tuple[int, ...]:
    """One number for each of ``d`` axes, where ATen may give one for all."""
    values = [value] if isinstance(value, int) else list(value)
    return tuple(values * d if len(values) == 1 else values)


def _bias(bias: Tensor | None, channels: int) -> Tensor:
    return torch.zeros(channels) if bias is None else bias


@rule("conv1d.default", "conv2d.default", "conv1d.padding", "conv2d.padding", samples_first=True)
def conv(s: Site, x: str, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
         groups: int = 1) -> str:
    d = weight.dim() - 2
    strides, dilations = each(stride, d), each(dilation, d)
    if padding == "same":  # torch puts the odd zero after
        total = [dl * (k - 1) for dl, k in zip(dilations, weight.shape[2:], strict=True)]
        pads = (*(t // 2 for t in total), *(t - t // 2 for t in total))
    else:
        pads = each(0 if padding == "valid" else padding, d) * 2
    return s.b.windowed(s.owner, Conv(weight, _bias(bias, weight.shape[0]), strides, pads, dilations, groups), x, s.single)


@rule("conv_transpose1d.default", "conv_transpose2d.input", samples_first=True)
def conv_transpose(s: Site, x: str, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
                   output_padding: Any = 0, groups: int = 1, dilation: Any = 1) -> str:
    d = weight.dim() - 2
    if each(dilation, d) != (1,) * d:
        raise NotSupportedError("a dilated transposed convolution, which no .tflite operation computes")
    if groups != 1:
        raise NotSupportedError("a transposed convolution in groups, which no .tflite operation computes")
    before, extra = each(padding, d), each(output_padding, d)
    pads = (*before, *(p - e for p, e in zip(before, extra, strict=True)))
    return s.b.add(s.owner, ConvTranspose(weight.transpose(0, 1).contiguous(), _bias(bias, weight.shape[1]), each(stride, d), pads), x)


@rule("linear.default")
def linear(s: Site, x: str, weight: Tensor, bias: Tensor | None = None) -> str:
    s.axis(-1)
    return s.b.add(s.owner, Linear(weight, _bias(bias, weight.shape[0])), x)


@rule("batch_norm.default")
def batch_norm(s: Site, x: str, weight: Tensor | None, bias: Tensor | None, mean: Tensor | None, var: Tensor | None, training: bool,
               momentum: float, eps: float, cudnn: bool) -> str:
    if training or mean is None or var is None:
        raise NotSupportedError("batch norm without stored statistics")
    scale = (var + eps).rsqrt() * (1 if weight is None else weight)
    single = s.single if isinstance(s.b.maker(x), Conv | Linear) else False
    return s.b.affine(s.owner, x, scale, -mean * scale + (0 if bias is None else bias), single, s.axis(1))


@rule("layer_norm.default")
def layer_norm(s: Site, x: str, shape: Sequence[int], weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5,
               cudnn: bool = False) -> str:
    for axis in range(len(shape)):
        s.axis(-1 - axis)
    weight = torch.ones(tuple(shape)) if weight is None else weight
    return s.b.add(s.owner, LayerNorm(weight, torch.zeros(tuple(shape)) if bias is None else bias, eps), x)


@rule("group_norm.default", samples_first=True)
def group_norm(s: Site, x: str, groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5,
               cudnn: bool = False) -> str:
    """Raises NotSupportedError where there are no places: then it is a layer norm of rows."""
    channels = s.shape[0]
    if len(s.shape) not in (2, 3):
        raise NotSupportedError("a group norm of values without places: use a layer norm")
    ones = torch.ones(channels)
    return s.b.add(s.owner, GroupNorm(groups, ones if weight is None else weight, _bias(bias, channels), eps), x)


@rule("instance_norm.default", samples_first=True)
def instance_norm(s: Site, x: str, weight: Tensor | None = None, bias: Tensor | None = None, mean: Tensor | None = None,
                  var: Tensor | None = None, use_input: bool = True, momentum: float = 0.1, eps: float = 1e-5, cudnn: bool = False) -> str:
    """A group norm of single channels; with stored statistics, a batch norm."""
    if not use_input:
        return batch_norm(s, x, weight, bias, mean, var, False, momentum, eps, cudnn)
    return group_norm(s, x, s.shape[0], weight, bias, eps)
