"""What every grid, every observer and all integer weights promise."""
from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgelr.graph.arithmetic import BIAS_MAX, IntegerWeights, dequantize, exact_parts, quantize, requantize
from edgelr.quantization import grid_of, quantize_weights
from edgelr.quantization.observers import BINS, OBSERVERS, Histogram, Method
from edgelr.vocabulary import Grid

numbers = st.floats(-1e4, 1e4, width=32)
scales = st.floats(2**-16, 2.0, width=32)
grids = st.builds(Grid, scales, st.integers(-128, 127))
batches = st.lists(st.lists(numbers, min_size=1, max_size=20), min_size=1, max_size=6)


@given(numbers, numbers)
def test_a_grid_holds_zero_exactly_and_covers_its_range(a: float, b: float) -> None:
    low, high = min(a, b), max(a, b)
    grid = grid_of(low, high)
    assert -128 <= grid.zero_point <= 127 and grid.scale > 0
    assert grid.scale == float(np.float32(grid.scale))
    assert float(dequantize(torch.tensor([float(grid.zero_point)]), grid)) == 0.0
    half = grid.scale * (0.5 + 1e-3)
    assert grid.low - half <= min(low, 0.0) and max(high, 0.0) <= grid.high + half


@given(st.floats(0, 1e4, width=32))
def test_a_grid_of_positive_values_begins_at_zero(high: float) -> None:
    assert grid_of(0.0, high).low == 0.0


@given(grids, numbers)
def test_rounding_to_a_grid_errs_by_half_a_step_inside_it(grid: Grid, value: float) -> None:
    inside = min(max(value, grid.low), grid.high)
    back = float(dequantize(quantize(torch.tensor([inside]), grid), grid))
    assert abs(back - inside) <= grid.scale * 0.5 + 1e-4 * abs(inside)


@given(grids)
def test_every_integer_of_a_grid_survives_the_way_out_and_back(grid: Grid) -> None:
    integers = torch.arange(-128.0, 128.0)
    assert torch.equal(quantize(dequantize(integers, grid), grid), integers)


@given(st.lists(st.integers(-(2**23), 2**23), min_size=1, max_size=50), st.floats(2**-14, 4.0, width=32), st.integers(-128, 127))
def test_requantisation_rounds_half_to_even_and_saturates(values: list[int], multiplier: float, zero_point: int) -> None:
    got = requantize(torch.tensor(values, dtype=torch.float64), torch.tensor(multiplier), Grid(1.0, zero_point))
    want = np.clip(np.rint(np.float32(values) * np.float32(multiplier)) + zero_point, -128, 127)
    np.testing.assert_array_equal(got.numpy(), want)


@pytest.mark.parametrize(("value", "rounded"), [(1, 0), (3, 2), (5, 2), (-1, 0), (-3, -2), (-5, -2)])
def test_halves_go_to_the_even_neighbour(value: int, rounded: int) -> None:
    assert float(requantize(torch.tensor([float(value)]), torch.tensor(0.5), Grid(1.0, 0))) == rounded


@given(batches, st.randoms(use_true_random=False), st.sampled_from(["minmax"]))
def test_observers_don_t_care_for_the_order_of_batches(data: list[list[float]], random: object, method: Method) -> None:
    one, other = OBSERVERS[method](), OBSERVERS[method]()
    shuffled = list(data)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    for batch, moved in zip(data, shuffled, strict=True):
        one.update(torch.tensor(batch))
        other.update(torch.tensor(moved))
    assert one.range() == other.range()


@given(batches)
def test_a_stream_gives_the_range_of_all_values_at_once(data: list[list[float]]) -> None:
    streamed, whole = OBSERVERS["minmax"](), OBSERVERS["minmax"]()
    for batch in data:
        streamed.update(torch.tensor(batch))
    whole.update(torch.tensor([value for batch in data for value in batch]))
    assert streamed.range() == whole.range()


@given(batches)
def test_a_histogram_loses_no_count_and_no_memory_as_its_reach_doubles(data: list[list[float]]) -> None:
    histogram, seen = Histogram(), 0
    for batch in data:
        histogram.update(torch.tensor(batch))
        seen += len(batch)
        assert histogram.counts.shape == (BINS,)
        if histogram.reach:
            assert histogram.reach >= max(abs(histogram.low), abs(histogram.high))
    if histogram.reach and data[0] != [0.0] * len(data[0]):
        zeros_before = next((i for i, b in enumerate(data) if any(b)), 0)
        assert histogram.counts.sum() == seen - sum(len(b) for b in data[:zeros_before])


@given(batches, st.sampled_from(["percentile", "mse"]))
def test_a_chosen_range_lies_within_the_values_seen(data: list[list[float]], method: Method) -> None:
    observer = OBSERVERS[method]()
    for batch in data:
        observer.update(torch.tensor(batch))
    values = np.concatenate([np.float32(b) for b in data])
    low, high = observer.range()
    assert min(values.min(), 0) <= low <= high <= max(values.max(), 0)


@given(st.integers(1, 6), st.integers(1, 8), st.floats(2**-20, 1e3, width=32), st.floats(0, 1e6), st.floats(2**-16, 2.0, width=32),
       st.integers(0, 2**31))
def test_integer_weights_are_symmetric_close_and_never_overflow(n: int, c: int, size: float, bias_size: float, input_scale: float,
                                                                seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(n, c, 2, 2, generator=generator) * size
    bias = torch.randn(n, generator=generator) * bias_size
    q = quantize_weights(weight, bias, input_scale)
    assert (q.weight.dtype, q.scale.dtype, q.bias.dtype) == (torch.int8, torch.float32, torch.int32)
    assert int(q.weight.min()) >= -127 and int(q.bias.abs().max()) <= BIAS_MAX
    steps = q.scale.view(-1, 1, 1, 1)
    assert bool(((q.weight.float() * steps - weight).abs() <= steps * (0.5 + 1e-3)).all())
    products = int(q.weight.abs().flatten(1).sum(1, dtype=torch.int64).max()) * 255
    assert products + BIAS_MAX < 2**31
    negated = quantize_weights(-weight, -bias, input_scale)
    assert torch.equal(negated.weight, -q.weight) and torch.equal(negated.bias, -q.bias)


@given(st.integers(1, 4), st.integers(1, 2**17), grids, st.integers(0, 2**31))
def test_sums_in_float32_are_only_used_where_they_are_exact(n: int, c: int, grid: Grid, seed: int) -> None:
    values = torch.randint(-127, 128, (n, c), generator=torch.Generator().manual_seed(seed)).to(torch.int8)
    weights = IntegerWeights(values, torch.ones(n), torch.zeros(n, dtype=torch.int32))
    largest = max(127 - grid.zero_point, grid.zero_point + 128)
    parts = exact_parts(grid, weights)
    assert torch.equal(sum(factor * part.to(torch.int64) for factor, part in parts), values.to(torch.int64))
    for _, part in parts:
        assert part.dtype == torch.float64 or float(part.abs().double().sum(1).max()) * largest < 2**24
