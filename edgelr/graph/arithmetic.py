"""Integer arithmetic as ONNX Runtime's fused kernels do it, on tensors of whole numbers.

Integers are held in float tensors: a float32 holds every integer below 2^24 exactly and a float64 below 2^53, so a
convolution of integers in floats is exact as long as no partial sum passes that bound, whatever the summation order.
"""
from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from edgelr.vocabulary import Grid

FLOAT32_EXACT = 2**24
WEIGHT_MAX = 127  # symmetric: -128 is never used, so that negation and both runtimes' fast paths hold
BIAS_MAX = 2**30  # half of int32, which leaves the other half to the products


@dataclass(frozen=True, eq=False)
class IntegerWeights:
    """``weight`` int8 in the float weight's layout, ``scale`` float32 for each output channel, ``bias`` int32 at s_in * scale."""

    weight: Tensor
    scale: Tensor
    bias: Tensor


def f32(value: float) -> Tensor:
    """A float32 scalar."""
    return torch.tensor(value, dtype=torch.float32)


def centred(q: Tensor, grid: Grid) -> Tensor:
    """q - zero_point, as whole numbers in the tensor's own type."""
    return q - grid.zero_point


def exact_parts(x_grid: Grid, weights: IntegerWeights) -> list[tuple[int, Tensor]]:
    """Float weights and their factors: the sum of factor * layer(x, weight) is the exact integer result.

    One float32 part where no partial sum can reach 2^24. Else the weights are cut into 16 * high + low, each float32: two
    fast layers beat one in float64. Float64 only where that doesn't do either (some 4,400 inputs of a sum at their extremes).
    """
    largest = max(127 - x_grid.zero_point, x_grid.zero_point + 128)

    def exact(weight: Tensor) -> bool:
        return int(weight.abs().flatten(1).sum(1, dtype=torch.int64).max()) * largest < FLOAT32_EXACT

    whole = weights.weight.to(torch.int32)
    if exact(whole):
        return [(1, whole.float())]
    high = torch.div(whole, 16, rounding_mode="floor")
    low = whole - 16 * high
    return [(16, high.float()), (1, low.float())] if exact(high) and exact(low) else [(1, whole.double())]


def requantize(acc: Tensor, multiplier: Tensor, out: Grid) -> Tensor:
    """round_half_even(float32(acc) * multiplier) + zero_point, saturated to the grid (MLAS MlasRequantizeOutput).

    The clamp comes before the rounding, as there. A fused ReLU is the saturation itself: its grid begins at 0.
    """
    scaled = acc.to(torch.float32) * multiplier
    return torch.round(scaled.clamp_(-128 - out.zero_point, 127 - out.zero_point)).add_(out.zero_point)


def quantize(x: Tensor, grid: Grid) -> Tensor:
    """Real numbers to the grid as ONNX QuantizeLinear does: round_half_even(x / scale) + zero_point, saturated."""
    return torch.round(x.to(torch.float32) / f32(grid.scale)).add_(grid.zero_point).clamp_(-128, 127)


def dequantize(q: Tensor, grid: Grid) -> Tensor:
    """Whole numbers of the grid to float32."""
    return centred(q, grid).to(torch.float32) * f32(grid.scale)


def quantize_weights(weight: Tensor, bias: Tensor, input_scale: float, weight_max: int = WEIGHT_MAX,
                     scale: Tensor | None = None) -> IntegerWeights:
    """Per output channel, symmetric in [-weight_max, weight_max]; bias int32 at input_scale * scale. ``scale`` [n] float32 is that of the
    largest weights, or as given.

    A channel whose bias would not fit into int32 gets a larger scale: coarser weights there beat an overflow.
    """
    if scale is None:
        scale = weight_scales(weight, bias, input_scale, weight_max)
    else:
        scale = torch.maximum(scale, _room(bias, input_scale).float())
    shape = (-1, *(1,) * (weight.dim() - 1))
    q = torch.round(weight.detach().float() / scale.view(shape)).clamp_(-weight_max, weight_max).to(torch.int8)
    bias_scale = (torch.tensor(input_scale, dtype=torch.float32) * scale).double()
    return IntegerWeights(q, scale, torch.round(bias.detach().double() / bias_scale).clamp_(-BIAS_MAX, BIAS_MAX).to(torch.int32))


def weight_scales(weight: Tensor, bias: Tensor, input_scale: float, weight_max: int = WEIGHT_MAX) -> Tensor:
    """Float32 scale of each output channel: its largest weight at ``weight_max``, or more where its bias would not fit."""
    largest = weight.detach().abs().flatten(1).amax(1).double()
    return torch.maximum(torch.maximum(largest / weight_max, _room(bias, input_scale)), torch.tensor(1e-12, dtype=torch.float64)).float()


def _room(bias: Tensor, input_scale: float) -> Tensor:
    """The weight scale of each channel below which its bias does not fit, float64."""
    return bias.detach().double().abs() / (input_scale * BIAS_MAX)
