"""Fake quantisation: the values of the integer grid forwards, and backwards the gradient of the function with rounding frozen."""
from __future__ import annotations

from math import sqrt

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from edgelr.graph.arithmetic import dequantize, quantize, quantize_weights
from edgelr.training.lsq import fake_quantize, fake_quantize_weight
from edgelr.vocabulary import Grid

SCALES = st.floats(2**-12, 4.0, width=32)
ZERO_POINTS = st.sampled_from([-128, -100, -3, 0, 77, 127])
SHAPES = st.sampled_from([(4, 3), (2, 3, 5), (2, 3, 4, 5)])


def drawn(seed: int, shape: tuple[int, ...], reach: float) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * reach


@given(SCALES, ZERO_POINTS, SHAPES, st.integers(0, 2**31))
def test_an_activation_is_on_the_grid_bit_for_bit(scale: float, zero_point: int, shape: tuple[int, ...], seed: int) -> None:
    x, grid = drawn(seed, shape, 150 * scale).float(), Grid(scale, zero_point)
    halves = (torch.randint(-300, 300, shape) + 0.5) * scale  # where rounding half to even shows
    for values in (x, halves.float()):
        assert torch.equal(fake_quantize(values, torch.tensor(scale), zero_point), dequantize(quantize(values, grid), grid))


@given(st.integers(0, 2**31), st.floats(2**-10, 8.0, width=32), st.sampled_from([127, 63]))
def test_a_weight_is_its_integers_times_their_scale(seed: int, size: float, weight_max: int) -> None:
    weight = drawn(seed, (5, 3, 2, 2), size).float()
    q = quantize_weights(weight, torch.zeros(5), 1.0, weight_max)
    assert torch.equal(fake_quantize_weight(weight, q.scale, weight_max), q.weight.float() * q.scale.view(-1, 1, 1, 1))


def frozen(x: Tensor, scale: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    """What rounding adds at this point in steps, and where the point is inside the grid: constants of the straight-through function."""
    residual = torch.round(x / scale) - x / scale
    return residual, (x / scale > low) & (x / scale < high)


def straight_through(x: Tensor, scale: Tensor, residual: Tensor, inside: Tensor, low: float, high: float) -> Tensor:
    ends = torch.where(residual * 0 + x > 0, high, low)
    return torch.where(inside, x + scale * residual, scale * ends)


@given(st.floats(2**-6, 4.0), ZERO_POINTS, SHAPES, st.integers(0, 2**31))
def test_an_activation_s_gradients_are_finite_differences(size: float, zero_point: int, shape: tuple[int, ...], seed: int) -> None:
    low, high = -128 - zero_point, 127 - zero_point
    x, scale = drawn(seed, shape, 120 * size), torch.tensor(size, dtype=torch.float64)
    weigh = drawn(seed + 1, shape, 1.0)
    residual, inside = frozen(x, scale, low, high)

    def loss(x: Tensor, scale: Tensor) -> Tensor:
        return (weigh * straight_through(x, scale, residual, inside, low, high)).sum()

    step = 1e-6 * size
    by_scale = float(loss(x, scale + step) - loss(x, scale - step)) / (2 * step)
    by_x = torch.empty_like(x)
    for i in range(x.numel()):
        away = torch.zeros(x.numel(), dtype=torch.float64)
        away[i] = step
        by_x.view(-1)[i] = (loss(x + away.view(shape), scale) - loss(x - away.view(shape), scale)) / (2 * step)

    for memory in (torch.contiguous_format, torch.channels_last) if len(shape) == 4 else (torch.contiguous_format,):
        leaf, s = x.clone(memory_format=memory).requires_grad_(), scale.clone().requires_grad_()
        (weigh * fake_quantize(leaf, s, zero_point)).sum().backward()
        assert leaf.grad is not None and s.grad is not None
        assert torch.allclose(leaf.grad, by_x, atol=1e-5)
        share = 1 / sqrt(x[0].numel() * max(high, -low))
        assert float(s.grad) == pytest.approx(by_scale * share, rel=1e-4, abs=1e-4 * share * x.numel())


@given(st.floats(2**-6, 4.0), st.integers(0, 2**31))
def test_a_weight_s_gradients_are_finite_differences(size: float, seed: int) -> None:
    weight = drawn(seed, (4, 3, 2, 2), 70 * size)
    scale = drawn(seed + 1, (4,), 0.2).exp() * size
    weigh = drawn(seed + 2, (4, 3, 2, 2), 1.0)
    steps = scale.view(-1, 1, 1, 1)
    residual, inside = frozen(weight, steps, -127.5, 127.5)
    residual = torch.where(inside, torch.round(weight / steps).clamp(-127, 127) - weight / steps, residual)

    def loss(weight: Tensor, scale: Tensor) -> Tensor:
        return (weigh * straight_through(weight, scale.view(-1, 1, 1, 1), residual, inside, -127, 127)).sum()

    leaf, s = weight.clone().requires_grad_(), scale.clone().requires_grad_()
    (weigh * fake_quantize_weight(leaf, s, 127)).sum().backward()
    assert leaf.grad is not None and s.grad is not None
    step, share = 1e-6 * size, 1 / sqrt(12 * 127)
    for c in range(4):
        away = torch.zeros(4, dtype=torch.float64)
        away[c] = step
        by_scale = float(loss(weight, scale + away) - loss(weight, scale - away)) / (2 * step)
        assert float(s.grad[c]) == pytest.approx(by_scale * share, rel=1e-4, abs=1e-5)
    for i in range(0, weight.numel(), 5):
        moved = torch.zeros(weight.numel(), dtype=torch.float64)
        moved[i] = step
        moved = moved.view(weight.shape)
        by_weight = float(loss(weight + moved, scale) - loss(weight - moved, scale)) / (2 * step)
        assert float(leaf.grad.reshape(-1)[i]) == pytest.approx(by_weight, abs=1e-5)


def test_a_grid_that_begins_at_zero_is_a_relu_in_both_directions() -> None:
    x = torch.tensor([-1.0, -0.001, 0.0, 0.3, 30.0], requires_grad=True)
    y = fake_quantize(x, torch.tensor(0.1), -128)
    y.sum().backward()
    assert torch.equal(y, torch.tensor([0.0, 0.0, 0.0, 3 * torch.tensor(0.1), 255 * torch.tensor(0.1)]))
    assert x.grad is not None and x.grad.tolist() == [0, 0, 0, 1, 0]


def test_the_largest_weight_of_a_calibrated_channel_is_trained() -> None:
    weight = torch.tensor([[0.5, -1.0], [3.0, 0.1]])
    q = quantize_weights(weight, torch.zeros(2), 1.0)
    leaf = weight.clone().requires_grad_()
    fake_quantize_weight(leaf, q.scale, 127).sum().backward()
    assert leaf.grad is not None and bool((leaf.grad == 1).all())
