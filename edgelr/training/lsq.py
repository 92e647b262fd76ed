"""Fake quantisation with learnt step sizes: LSQ, Esser et al., ICLR 2020 (arXiv 1902.08153).

Forwards the values are those of ``graph.arithmetic``: x / scale, rounded half to even, saturated. Backwards rounding counts as the
identity (its residual as a constant), equations 3 and 5 of the paper, with the scale's gradient times 1 / sqrt(N * Qmax) (section 2.2).
"""
from __future__ import annotations

from math import sqrt
from typing import Any

import torch
from torch import Tensor


def fake_quantize(x: Tensor, scale: Tensor, zero_point: int) -> Tensor:
    """An activation [batch, ...] on the affine int8 grid of ``scale`` (0-d) and ``zero_point``, in real numbers.

    Saturated values, the bounds among them, pass no gradient on, so that a grid that begins at 0 is a ReLU in both directions.
    """
    return _Activation.apply(x, scale, zero_point)  # type: ignore[no-any-return,no-untyped-call]


def fake_quantize_weight(weight: Tensor, scale: Tensor, weight_max: int) -> Tensor:
    """A weight [n, ...] on the symmetric grids of ``scale`` [n] within [-weight_max, weight_max], in real numbers.

    What rounds to the last step without being cut passes gradients on: a calibrated grid ends at its channel's largest weight.
    """
    return _Weight.apply(weight, scale, weight_max)  # type: ignore[no-any-return,no-untyped-call]


class _Activation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, zero_point: int) -> Tensor:
        low, high = -128 - zero_point, 127 - zero_point
        y = torch.div(x, scale).round_().clamp_(low, high).mul_(scale)
        ctx.save_for_backward(x, y, scale)
        ctx.bounds = low, high
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None, None]:
        (gradient,), (x, y, scale), (low, high) = gradients, ctx.saved_tensors, ctx.bounds
        step = float(scale)
        through = torch.ops.aten.hardtanh_backward(gradient, x, low * step, high * step)
        if not ctx.needs_input_grad[1]:
            return through, None, None
        # (y - x) / scale inside and y / scale outside is what one step's growth adds
        slope = (_dot(gradient, y) - _dot(through, x)) / scale
        return through, slope / sqrt(max(1, x.numel() // len(x)) * max(high, -low)), None


class _Weight(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, scale: Tensor, weight_max: int) -> Tensor:
        steps = scale.view(-1, *(1,) * (weight.dim() - 1))
        y = torch.div(weight, steps).round_().clamp_(-weight_max, weight_max).mul_(steps)
        ctx.save_for_backward(weight, y, scale)
        ctx.weight_max = weight_max
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None, None]:
        (gradient,), (weight, y, scale) = gradients, ctx.saved_tensors
        reach = (scale * (ctx.weight_max + 0.5)).view(-1, *(1,) * (weight.dim() - 1))
        through = gradient * (weight.abs() <= reach)
        if not ctx.needs_input_grad[1]:
            return through, None, None
        slope = (gradient * y - through * weight).flatten(1).sum(1) / scale
        return through, slope / sqrt(weight[0].numel() * ctx.weight_max), None


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """The sum of a * b, in one pass over the memory where both lie alike."""
    for format in (torch.contiguous_format, torch.channels_last):
        if (format == torch.contiguous_format or a.dim() == 4) and all(v.is_contiguous(memory_format=format) for v in (a, b)):
            return torch.dot(*(v.as_strided((v.numel(),), (1,)) for v in (a, b)))
    return (a * b).sum()
