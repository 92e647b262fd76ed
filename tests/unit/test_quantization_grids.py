"""Which values share a grid, which keep their own, and that the integer run does not depend on how samples come."""
from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgelr.errors import BadInputError
from edgelr.graph import capture, run
from edgelr.graph.ops import Requantize
from edgelr.graph.ops.activations import UNIT
from edgelr.quantization import Quantized, calibrate, observe, quantize, quantize_weights, simulate, simulate_integers
from edgelr.quantization.observers import BINS, Histogram, MeanSquaredError, MinMax, Percentile
from edgelr.vocabulary import Grid


class Branches(nn.Module):
    """a and b of one input, joined by ``how``."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.a, self.b, self.how = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1), how

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.a(x), self.b(x) * 5
        match self.how:
            case "relu both":
                return torch.cat([a.relu(), b.relu()], 1)
            case "relu one":
                return torch.cat([a.relu(), b], 1)
            case "sigmoid":
                return torch.cat([a.sigmoid(), b], 1)
            case "pooled":
                return torch.cat([F.max_pool2d(a.relu(), 2), F.max_pool2d(b, 2)], 1)
            case _:
                return torch.cat([a, b], 1)


def prepared(how: str) -> tuple[Quantized, Tensor]:
    x = torch.randn(8, 3, 6, 6)
    return calibrate(capture(Branches(how), (3, 6, 6)), [x]), x


def requantized(q: Quantized) -> list[str]:
    return [n.inputs[0] for n in q.graph.nodes if isinstance(n.op, Requantize)]


def test_inputs_of_a_concatenation_share_its_grid() -> None:
    q, _ = prepared("plain")
    assert requantized(q) == []
    assert q.grids["a"] == q.grids["b"] == q.grids[q.graph.output]


def test_inputs_with_one_bound_share_a_grid_that_begins_there() -> None:
    q, _ = prepared("relu both")
    assert requantized(q) == []
    assert q.grids["a"] == q.grids["b"] and q.grids["a"].low == 0


def test_a_bounded_input_keeps_its_grid_beside_a_free_one() -> None:
    q, _ = prepared("relu one")
    assert requantized(q) == ["a"]
    assert q.grids["a"].low == 0 and q.grids["b"].low < 0
    assert q.grids["b"] == q.grids[q.graph.output]


def test_an_input_whose_grid_is_fixed_keeps_it() -> None:
    q, _ = prepared("sigmoid")
    assert requantized(q) == ["sigmoid"]
    assert q.grids["sigmoid"] == UNIT == Grid(1 / 256, -128)


def test_a_bound_is_seen_through_pooling() -> None:
    q, _ = prepared("pooled")
    assert len(requantized(q)) == 1
    assert q.grids["a"].low == 0 and q.grids["b"].low < 0


@pytest.mark.parametrize("how", ["plain", "relu both", "relu one", "sigmoid", "pooled"])
def test_the_integer_run_follows_the_float_run(how: str) -> None:
    q, x = prepared(how)
    with torch.no_grad():
        want = run(q.graph, x)
    noise = float((simulate(q, x) - want).square().mean())
    assert 10 * torch.log10(want.square().mean() / noise) > 28


def test_values_that_only_move_keep_their_grid() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.MaxPool2d(2), nn.ReflectionPad2d(1), nn.Upsample(scale_factor=2), nn.Flatten())
    q = calibrate(capture(net, (3, 6, 6)), [torch.randn(4, 3, 6, 6)])
    assert len({q.grids[n.name] for n in q.graph.nodes}) == 1


def test_a_pad_s_value_is_on_the_grid_even_where_calibration_never_saw_it() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ConstantPad2d(1, 50.0))
    q = calibrate(capture(net, (3, 6, 6)), [torch.randn(4, 3, 6, 6)])
    assert q.grids[q.graph.output].high >= 50 - q.grids[q.graph.output].scale


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_the_integer_run_does_not_depend_on_the_batch(batch: int) -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8), nn.Hardswish(), nn.AdaptiveAvgPool2d(1),
                        nn.Flatten(), nn.Linear(8, 5), nn.Softmax(1))
    x = torch.randn(8, 3, 9, 9)
    q = calibrate(capture(net, (3, 9, 9)), [x])
    parts = torch.cat([simulate_integers(q, part) for part in x.split(batch)])
    assert torch.equal(parts, simulate_integers(q, x))


def test_integers_are_whole_and_in_range() -> None:
    q, x = prepared("relu one")
    seen: dict[str, Tensor] = {}
    simulate_integers(q, x * 10, seen.__setitem__)
    assert set(seen) == set(q.graph.shapes)
    for value in seen.values():
        assert torch.equal(value, value.round()) and value.min() >= -128 and value.max() <= 127


def test_a_large_bias_widens_its_channel_s_scale_instead_of_overflowing() -> None:
    weight, bias = torch.full((2, 1), 1e-6), torch.tensor([1e3, 0.0])
    q = quantize_weights(weight, bias, 1e-3)
    assert float(q.scale[0]) > float(q.scale[1])
    held = q.bias.double() * q.scale.double() * 1e-3
    assert torch.allclose(held, bias.double(), rtol=1e-3)


def test_a_branch_that_is_zero_throughout_gets_a_scale_like_its_inputs() -> None:
    """A scale far below the accumulator's unit makes files that LiteRT refuses to load."""
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1))
    with torch.no_grad():
        net[0].bias.fill_(-100.0)
    q = calibrate(capture(net, (3, 6, 6)), [torch.randn(4, 3, 6, 6)])
    unit = q.grids["input"].scale * float(q.weights["0"].scale.max())
    assert q.grids["0"].scale == pytest.approx(unit)
    assert q.grids["0"].low == 0


def test_a_mean_keeps_the_fine_grid_that_its_values_need() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.AdaptiveAvgPool2d(1))
    x = torch.randn(4, 1, 32, 32)
    x -= x.mean((2, 3), keepdim=True)
    with torch.no_grad():
        net[0].bias.fill_(1e-4)
    q = calibrate(capture(net, (1, 32, 32)), [x])
    assert q.grids[q.graph.output].scale < q.grids["0"].scale / 1000


def test_no_calibration_sample_is_an_error() -> None:
    with pytest.raises(BadInputError, match="calibration"):
        calibrate(capture(nn.Linear(4, 4), (4,)), [])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("method", ["minmax", "percentile", "mse"])
def test_values_that_are_not_finite_are_named(bad: float, method: str) -> None:
    """Whether the weights are to blame, or one sample of a later batch."""
    net = nn.Sequential(nn.Linear(4, 4))
    graph = capture(net, (4,))
    with pytest.raises(BadInputError, match=r"^input: .*finite"):
        calibrate(graph, [torch.randn(2, 4), torch.tensor([[0.0, bad, 0.0, 0.0]]), torch.randn(2, 4)], method)
    with torch.no_grad():
        net[0].bias[1] = bad
    with pytest.raises(BadInputError, match=r"^0: .*finite"):
        calibrate(capture(net, (4,)), [torch.randn(2, 4)], method)


def test_quantise_is_observe_then_assign() -> None:
    graph, x = capture(Branches("relu one"), (3, 6, 6)), torch.randn(8, 3, 6, 6)
    whole = calibrate(graph, [x])
    streamed = quantize(graph, observe(graph, x.split(3)))
    assert whole.grids == streamed.grids


def test_a_histogram_keeps_every_count_when_larger_values_come() -> None:
    h = Histogram()
    for size in (1.0, 3.0, 100.0, 1e5):
        h.update(torch.linspace(-size, size, 101))
    assert h.counts.sum() == 404 and h.counts.shape == (BINS,)
    assert h.reach >= 1e5
    inner = (h.edges()[:-1].abs() <= 300) & (h.edges()[1:].abs() <= 300)
    assert h.counts[inner].sum() >= 303  # what was near zero is still there


def test_percentile_and_mse_leave_an_outlier_out() -> None:
    x = torch.cat([torch.randn(500_000).clamp(-4, 4), torch.tensor([1000.0])])
    ranges = {}
    for kind in (MinMax, Percentile, MeanSquaredError):
        observer = kind()
        for part in x.split(50_000):
            observer.update(part)
        ranges[kind] = observer.range()
    assert ranges[MinMax][1] == 1000
    assert ranges[Percentile][1] < 10
    assert ranges[MeanSquaredError][1] < 1000


def test_mse_is_no_worse_than_min_max_in_what_it_minimises() -> None:
    x = torch.randn(20_000) ** 3
    errors = []
    for kind in (MinMax, MeanSquaredError):
        observer = kind()
        observer.update(x)
        low, high = observer.range()
        step = (high - low) / 255
        errors.append(float(((x.clamp(low, high) / step).round() * step - x).square().mean()))
    assert errors[1] <= errors[0]
