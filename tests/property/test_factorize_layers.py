"""For layers of every kind: full rank is the layer, the pair is the product, and errors are what is measured on the inputs."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from edgelr.factorize import Decomposition, Moments, decompose, matrix_view, pair_weights, schemes_of, weight_from_matrix

# Torch's own remark about layers with an even kernel.
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")


@dataclass(frozen=True)
class Case:
    """A layer and inputs for it, rebuilt from a seed."""

    kind: str
    settings: dict[str, Any]
    seed: int
    correlated: bool
    scheme: str

    def layer(self, dtype: torch.dtype = torch.float32) -> nn.Module:
        torch.manual_seed(self.seed)
        layer = {"conv1d": nn.Conv1d, "conv2d": nn.Conv2d, "linear": nn.Linear}[self.kind](**self.settings, dtype=dtype)
        return layer.requires_grad_(False)

    def inputs(self, dtype: torch.dtype = torch.float32, samples: int = 3) -> Tensor:
        torch.manual_seed(self.seed + 1)
        if self.kind == "linear":
            x = torch.randn(samples * 20, self.settings["in_features"], dtype=torch.float64)
        else:
            sides = (11,) if self.kind == "conv1d" else (9, 8)
            x = torch.randn(samples, self.settings["in_channels"], *sides, dtype=torch.float64)
        return ((x.cumsum(dim=-1) / 2 + 1) if self.correlated else x + 0.5).to(dtype)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    kind = draw(st.sampled_from(["conv2d", "conv2d", "conv1d", "linear"]))
    bias, seed, correlated = draw(st.booleans()), draw(st.integers(0, 10_000)), draw(st.booleans())
    if kind == "linear":
        sides = {"in_features": draw(st.integers(3, 12)), "out_features": draw(st.integers(3, 12))}
        return Case(kind, {**sides, "bias": bias}, seed, correlated, "linear")
    directions = 1 if kind == "conv1d" else 2
    groups = draw(st.sampled_from([1, 1, 2, 3]))

    def each(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in range(directions))

    kernel, dilation = each(1, 3), each(1, 2)
    padding = draw(st.sampled_from(["same", "valid", "numbers"]))
    stride = (1,) * directions if padding == "same" else each(1, 4)
    settings = {
        "in_channels": groups * draw(st.integers(1, 4)), "out_channels": groups * draw(st.integers(1, 5)), "kernel_size": kernel,
        "stride": stride, "padding": each(0, 2) if padding == "numbers" else padding, "dilation": dilation, "groups": groups, "bias": bias,
        "padding_mode": draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"])),
    }
    case = Case(kind, settings, seed, correlated, draw(st.sampled_from(["channel", "spatial"])))
    assume(case.scheme in schemes_of(case.layer())[0])
    return case


def moments_of(layer: nn.Module, x: Tensor) -> Moments:
    moments = Moments(layer, max_rows=10**9)
    moments.update(x)
    return moments


def run_with(layer: nn.Module, weight: Tensor, bias: Tensor | None, x: Tensor) -> Tensor:
    return torch.func.functional_call(layer, {"weight": weight} | ({} if bias is None else {"bias": bias}), (x,))


def measured_error(layer: nn.Module, x: Tensor, result: Tensor) -> float:
    """Mean squared output error over the outputs' energy, or over their variance for a layer with a bias; from the outputs alone."""
    target = layer(x)
    bias = getattr(layer, "bias", None)
    channel = -1 if isinstance(layer, nn.Linear) else 1
    axes = [a for a in range(target.dim()) if a != channel % target.dim()]
    centred = target - target.mean(dim=axes, keepdim=True) if bias is not None else target
    return float((result - target).square().sum() / centred.square().sum())


@given(cases())
def test_full_rank_reproduces_the_layer(case: Case) -> None:
    layer, x = case.layer(), case.inputs()
    target = layer(x)
    for moments in (None, moments_of(layer, x)):
        decomposition = decompose(layer, case.scheme, moments)
        result = decomposition.pair(decomposition.max_rank)(x).detach()
        assert result.shape == target.shape
        assert float((result - target).abs().max()) <= 1e-5 * max(1.0, float(target.abs().max()))
        assert decomposition.error(decomposition.max_rank) == 0.0


@given(cases(), st.data())
def test_the_pair_equals_its_product_and_only_its_second_layer_has_a_bias(case: Case, data: st.DataObject) -> None:
    layer, x = case.layer(torch.float64), case.inputs(torch.float64)
    for moments in (None, moments_of(layer, x)):
        decomposition = decompose(layer, case.scheme, moments)
        rank = data.draw(st.integers(1, decomposition.max_rank))
        pair = decomposition.pair(rank)
        torch.testing.assert_close(pair(x), run_with(layer, *decomposition.product(rank), x), rtol=1e-9, atol=1e-9)
        assert [type(part) for part in pair] == [type(layer)] * 2
        assert pair[0].bias is None
        assert (pair[1].bias is None) == (layer.bias is None)


@given(cases())
def test_the_aware_error_is_what_is_measured_and_never_above_plain(case: Case) -> None:
    layer, x = case.layer(torch.float64), case.inputs(torch.float64)
    plain, aware = decompose(layer, case.scheme), decompose(layer, case.scheme, moments_of(layer, x))
    for rank in range(1, aware.max_rank):
        measured = measured_error(layer, x, aware.pair(rank)(x).detach())
        assert aware.error(rank) == pytest.approx(measured, rel=1e-6, abs=1e-7 if case.scheme == "spatial" else 1e-12)
        assert measured <= measured_error(layer, x, plain.pair(rank)(x).detach()) * (1 + 1e-9) + 1e-7


@given(cases())
def test_the_plain_error_is_the_weights_and_the_best_possible(case: Case) -> None:
    layer = case.layer(torch.float64)
    decomposition = decompose(layer, case.scheme)
    matrices = matrix_view(layer.weight, case.scheme, getattr(layer, "groups", 1))
    energies = torch.linalg.svdvals(matrices).square().sum(dim=0)
    for rank in range(1, decomposition.max_rank + 1):
        lost = (decomposition.product(rank)[0] - layer.weight).square().sum()
        assert float(lost) == pytest.approx(float(energies[rank:].sum()), rel=1e-10, abs=1e-20)
        assert decomposition.error(rank) == pytest.approx(float(lost / energies.sum()), rel=1e-10, abs=1e-20)


@given(cases())
def test_errors_never_rise_with_rank_and_lie_between_0_and_1(case: Case) -> None:
    layer, x = case.layer(), case.inputs()
    for moments in (None, moments_of(layer, x)):
        decomposition = decompose(layer, case.scheme, moments)
        errors = decomposition.errors()
        assert len(errors) == decomposition.max_rank + 1
        assert (errors.diff() <= 0).all()
        assert 0.0 == errors[-1] <= errors[0] <= 1.0 + 1e-12
        assert [decomposition.error(r) for r in range(1, len(errors))] == errors[1:].tolist()


@given(cases(), st.data())
def test_no_other_pair_of_that_rank_does_better_on_the_inputs(case: Case, data: st.DataObject) -> None:
    """Optimality from outside: the outputs of any rank-r product, its bias free, are at least the tail of the outputs' own spectrum."""
    assume(case.scheme != "spatial" and case.settings.get("groups", 1) == 1)
    layer, x = case.layer(torch.float64), case.inputs(torch.float64)
    outputs = layer(x) if case.kind == "linear" else layer(x).transpose(0, 1).flatten(1).T
    outputs = outputs - outputs.mean(dim=0) if layer.bias is not None else outputs
    tail = torch.linalg.svdvals(outputs).square()
    decomposition = decompose(layer, case.scheme, moments_of(layer, x))
    rank = data.draw(st.integers(1, decomposition.max_rank))
    assert decomposition.error(rank) == pytest.approx(float(tail[rank:].sum() / tail.sum()), rel=1e-6, abs=1e-12)


@given(cases(), st.integers(1, 8))
def test_streamed_moments_equal_those_of_all_patches_at_once(case: Case, parts: int) -> None:
    layer, x = case.layer(torch.float64), case.inputs(torch.float64, samples=5)
    streamed, whole = Moments(layer, 10**9), moments_of(layer, x)
    for part in x.chunk(parts):
        streamed.update(part)
    assert streamed.count == whole.count
    for one, other in ((streamed.mean, whole.mean), (streamed.second, whole.second), (streamed.covariance, whole.covariance)):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)


@given(cases())
def test_moments_are_those_of_torchs_own_patches(case: Case) -> None:
    assume(case.kind == "conv2d")
    layer, x = case.layer(torch.float64), case.inputs(torch.float64)
    pads = layer._reversed_padding_repeated_twice
    padded = functional.pad(x, pads, mode="constant" if layer.padding_mode == "zeros" else layer.padding_mode)
    patches = functional.unfold(padded, layer.kernel_size, layer.dilation, stride=layer.stride)
    rows = patches.transpose(1, 2).reshape(-1, layer.groups, patches.shape[1] // layer.groups).transpose(0, 1)
    moments = moments_of(layer, x)
    assert moments.count == rows.shape[1]
    torch.testing.assert_close(moments.mean, rows.mean(dim=1), rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(moments.second, rows.transpose(1, 2) @ rows / rows.shape[1], rtol=1e-11, atol=1e-11)


@given(cases())
def test_the_matrix_view_and_the_pair_weights_can_be_undone(case: Case) -> None:
    layer = case.layer(torch.float64)
    matrix = matrix_view(layer.weight, case.scheme, getattr(layer, "groups", 1))
    assert torch.equal(weight_from_matrix(matrix, case.scheme, layer.weight.shape), layer.weight)
    identity = torch.eye(matrix.shape[2], dtype=torch.float64).expand(len(matrix), -1, -1)
    first, second = pair_weights(matrix, identity, case.scheme, layer.weight.shape)
    assert first.numel() == identity.numel()
    assert second.numel() == matrix.numel()


@given(cases())
def test_with_moments_all_middle_channels_have_the_same_size(case: Case) -> None:
    """The middle tensor goes through one int8 grid: a channel that dominates would leave the others no steps."""
    layer, x = case.layer(torch.float64), case.inputs(torch.float64, samples=400)
    decomposition: Decomposition = decompose(layer, case.scheme, moments_of(layer, x))
    rank = max(1, decomposition.max_rank // 2)
    pair = decomposition.pair(rank)
    # The middle as the second layer reads it: one row for each output position, at spatial pairs with the columns side by side.
    second = moments_of(pair[1], pair[0](x)).second.diagonal(dim1=1, dim2=2)
    columns = second.shape[1] // rank
    rms = second.reshape(-1, rank, columns).mean(dim=2).sqrt().flatten()
    live = rms[rms > 1e-6 * rms.max()]
    assert float(live.max()) <= 1 + 1e-6
    assert float((live > 0.9).double().mean()) > 0.5


@given(st.integers(1, 20), st.integers(0, 2**31))
def test_channels_that_few_samples_left_silent_keep_their_size_when_others_wake_them(samples: int, seed: int) -> None:
    """Fewer samples than inputs: scaled by what they saw alone, the silent channels would take the whole int8 grid on other data."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    layer = nn.Linear(64, 48).double()
    seen, others = (torch.randn(n, 64, dtype=torch.float64, generator=generator) + 1 for n in (samples, 500))
    pair = decompose(layer, "linear", moments_of(layer, seen)).pair(32)
    rms = pair[0](others).detach().square().mean(0).sqrt()
    assert float(rms.max()) < 4


@example(rank=2, m=6, n=9, groups=1)
@given(st.integers(1, 4), st.integers(5, 9), st.integers(5, 9), st.integers(1, 2))
def test_a_weight_of_low_rank_loses_nothing_at_that_rank(rank: int, m: int, n: int, groups: int) -> None:
    torch.manual_seed(rank * 100 + m * 10 + n)
    layer = nn.Conv2d(n * groups, m * groups, 1, groups=groups)
    with torch.no_grad():
        layer.weight.copy_((torch.randn(groups, m, rank) @ torch.randn(groups, rank, n)).reshape(layer.weight.shape))
    x = torch.randn(4, n * groups, 5, 5)
    for moments in (None, moments_of(layer, x)):
        decomposition = decompose(layer, "channel", moments)
        assert decomposition.error(rank) < 1e-12
        torch.testing.assert_close(decomposition.pair(rank)(x), layer(x), rtol=1e-4, atol=1e-4)
