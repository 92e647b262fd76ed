"""The modified stable rank: its values, its gradient, and what training with it does to a spectrum."""
from __future__ import annotations

import copy
import math
from typing import Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lowrank_sample import PLAN, accuracy, fit, matrix_of, stepped, trained_net, with_spectrum
from torch import Tensor, nn

from edgelr.training import Bsr, BsrSettings, matrices
from edgelr.training.bsr import modified_stable_rank
from edgelr.training.method import Matrix
from edgelr.training.rank_tuning import truncated

Exponent = Literal[1, 2]
EXPONENTS: tuple[Exponent, ...] = (1, 2)


def of(spectrum: list[float], rank: int, exponent: Exponent) -> float:
    return float(modified_stable_rank(with_spectrum(spectrum, 7, 5)[None], rank, exponent))


@pytest.mark.parametrize(("exponent", "values"), [(1, (1.5, 3 / 7, 1 / 9, 0.0)), (2, (0.875, 0.2, 1 / 29, 0.0))])
def test_values_of_the_spectrum_4_3_2_1(exponent: Exponent, values: tuple[float, ...]) -> None:
    assert [of([4, 3, 2, 1], r, exponent) for r in (1, 2, 3, 4)] == pytest.approx(values, abs=1e-12)


@pytest.mark.parametrize("exponent", EXPONENTS)
def test_it_falls_with_the_rank_and_is_0_from_the_matrix_rank_on(exponent: Exponent) -> None:
    values = [of([5.0, 2.0, 0.1], r, exponent) for r in (1, 2, 3, 4, 5)]
    assert values[0] > values[1] > 1e-4 and values[2:] == pytest.approx([0, 0, 0], abs=1e-12)


@given(st.integers(0, 1000), st.sampled_from(EXPONENTS), st.floats(1e-6, 1e6), st.booleans(), st.integers(1, 4))
def test_it_does_not_change_with_scale_or_rotation(seed: int, exponent: Exponent, scale: float, negative: bool, rank: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    m = torch.randn(2, 6, 5, dtype=torch.float64, generator=generator)
    turns = torch.linalg.qr(torch.randn(2, 6, 6, dtype=torch.float64, generator=generator)).Q
    moved = (-scale if negative else scale) * turns @ m
    assert float(modified_stable_rank(moved, rank, exponent)) == pytest.approx(float(modified_stable_rank(m, rank, exponent)), rel=1e-9)


def test_groups_are_cut_at_one_rank_and_measured_together() -> None:
    both = torch.stack([with_spectrum([4, 3, 2, 1], 6, 5, seed) for seed in (0, 1)]) * torch.tensor([1.0, 2.0]).reshape(2, 1, 1)
    assert float(modified_stable_rank(both, 2, 1)) == pytest.approx((3 + 6) / (7 + 14))


def test_a_matrix_of_zeros_has_rank_0_and_no_gradient() -> None:
    assert float(modified_stable_rank(torch.zeros(1, 4, 3), 1)) == 0
    for exponent in EXPONENTS:
        matrix = matrix_of(torch.zeros(4, 3), 1)
        value, gradient = penalised([matrix], BsrSettings(1.0, exponent, ramp=0))
        assert float(value) == 0 and not gradient[0].any()


def penalised(aims: list[Matrix], settings: BsrSettings, steps: int = 10) -> tuple[Tensor, list[Tensor]]:
    """The penalty of the first step, and its gradients."""
    method = Bsr(aims, settings)
    method.start(steps, stepped(aims[0]))
    value = method.penalty()
    assert value is not None
    return value.detach(), list(torch.autograd.grad(value, [m.weight for m in aims]))


WEIGHTS = {
    "linear": (matrix_of, (9, 6), "linear", 1), "channel": (matrix_of, (8, 3, 3, 3), "channel", 1),
    "grouped": (matrix_of, (8, 3, 3, 3), "channel", 2), "spatial": (matrix_of, (4, 5, 3, 3), "spatial", 1),
    "spatial, grouped": (matrix_of, (6, 2, 3, 3), "spatial", 2), "gates": (matrix_of, (12, 5), "gates", 4),
}  # fmt: skip


@pytest.mark.parametrize("exponent", EXPONENTS)
@pytest.mark.parametrize("case", WEIGHTS)
def test_the_gradient_is_that_of_the_singular_values_and_orthogonal_to_the_weight(case: str, exponent: Exponent) -> None:
    make, shape, scheme, groups = WEIGHTS[case]
    matrix = make(torch.randn(shape, dtype=torch.float64), 2, scheme, groups)  # type: ignore[arg-type]
    value, (found,) = penalised([matrix], BsrSettings(1.0, exponent, ramp=0))
    exact = modified_stable_rank(matrix.view(), 2, exponent)
    (wanted,) = torch.autograd.grad(exact, matrix.weight)
    assert float(value) == pytest.approx(float(exact.detach()), rel=1e-12)
    assert torch.allclose(found, wanted, rtol=1e-9, atol=1e-12)
    assert abs(float((found * matrix.weight.detach()).sum())) < 1e-12 * float(found.norm() * matrix.weight.detach().norm()) + 1e-14


def test_the_penalty_is_the_weighted_mean_over_layers_and_rises_over_the_ramp() -> None:
    aims = [matrix_of(with_spectrum([4, 3, 2, 1], 7, 5), 2), matrix_of(with_spectrum([4, 3, 2, 1], 6, 6), 3)]
    method, mean = Bsr(aims, BsrSettings(6.0, 1, refresh=1000, ramp=0.5)), (3 / 7 + 1 / 9) / 2
    method.start(8, stepped(aims[0]))
    seen = []
    for step in range(1, 9):
        value = method.penalty()
        assert value is not None
        seen.append(float(value.detach()))
        method.after_step(step)
    assert seen == pytest.approx([6 * mean * share for share in (0.25, 0.5, 0.75, 1, 1, 1, 1, 1)])


def test_no_weight_and_no_layers_add_nothing() -> None:
    matrix = matrix_of(torch.randn(4, 3), 1)
    for method in (Bsr([matrix], BsrSettings(0.0)), Bsr([])):
        method.start(3, stepped(matrix))
        assert method.penalty() is None


@pytest.mark.parametrize("exponent", EXPONENTS)
def test_between_refreshes_the_vectors_are_old_and_the_value_still_a_ratio(exponent: Exponent) -> None:
    matrix = matrix_of(torch.randn(12, 10, dtype=torch.float64), 4)
    method = Bsr([matrix], BsrSettings(1.0, exponent, refresh=3, ramp=0))
    method.start(10, stepped(matrix))

    def error() -> float:
        value = method.penalty()
        assert value is not None
        return float(value.detach() / modified_stable_rank(matrix.view().detach(), 4, exponent)) - 1

    with torch.no_grad():
        for step in range(1, 7):
            matrix.weight.add_(torch.randn(12, 10, dtype=torch.float64), alpha=0.05)
            method.after_step(step)
            if step % 3 == 0:
                assert abs(error()) < 1e-9
            else:
                assert 1e-6 < abs(error()) < 0.2
        matrix.weight.copy_(torch.randn(12, 10, dtype=torch.float64))  # as wrong as can be
        assert method.penalty() is not None and torch.isfinite(method.penalty()) and error() > -1  # type: ignore[arg-type]


@pytest.mark.parametrize("exponent", EXPONENTS)
@pytest.mark.parametrize("refresh", [1, 20])
def test_descending_it_alone_leaves_the_rank_and_does_not_shrink_the_head(exponent: Exponent, refresh: int) -> None:
    matrix = matrix_of(torch.randn(12, 10, dtype=torch.float64), 4)
    before = torch.linalg.svdvals(matrix.weight.detach())
    method, optimizer = Bsr([matrix], BsrSettings(1.0, exponent, refresh, ramp=0)), torch.optim.SGD([matrix.weight], 0.5)
    method.start(600, optimizer)
    for step in range(1, 601):
        value = method.penalty()
        assert value is not None
        optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        for group in optimizer.param_groups:
            group["lr"] = 2 * (1 - step / 600)
        optimizer.step()
        method.after_step(step)
    after = torch.linalg.svdvals(matrix.weight.detach())
    assert float(after[4:].max()) < 0.1 * float(before[4:].max())
    assert float(after[:4].sum()) > 0.98 * float(before[:4].sum())


@pytest.mark.parametrize("exponent", EXPONENTS)
@pytest.mark.parametrize(("steps", "rate", "scale"), [(40, 0.01, 1.0), (400, 0.01, 1.0), (100, 0.1, 100.0), (100, 0.001, 0.1)])
def test_a_weight_of_its_own_takes_the_tail_away_in_any_number_of_steps_at_any_rate(
    steps: int, rate: float, scale: float, exponent: Exponent
) -> None:
    aims = [matrix_of(scale * torch.randn(12, 10, dtype=torch.float64), rank) for rank in (3, 5)]
    before = [float(torch.linalg.svdvals(m.weight.detach())[m.rank :].norm()) for m in aims]
    optimizer = torch.optim.SGD([m.weight for m in aims], rate, 0.9)
    method = Bsr(aims, BsrSettings(exponent=exponent, refresh=5, ramp=0))
    method.start(steps, optimizer)
    for step in range(1, steps + 1):
        optimizer.param_groups[0]["lr"] = rate * (1 + math.cos(math.pi * step / steps)) / 2
        value = method.penalty()
        assert value is not None
        optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        method.after_step(step)
    after = [float(torch.linalg.svdvals(m.weight.detach())[m.rank :].norm()) for m in aims]
    assert all(b < 0.3 * a for a, b in zip(before, after, strict=True))


def cut(net: nn.Module) -> nn.Module:
    """A copy with every matrix of the plan at its rank."""
    copied = copy.deepcopy(net)
    for matrix in matrices(copied, PLAN):
        matrix.write(truncated(matrix.view(), matrix.rank))
    return copied


def tails(net: nn.Module) -> list[float]:
    return [float(modified_stable_rank(m.view().detach(), m.rank, 2)) for m in matrices(net, PLAN)]


def heads(net: nn.Module) -> list[float]:
    return [float(torch.linalg.svdvals(m.view().detach())[:, : m.rank].norm()) for m in matrices(net, PLAN)]


@pytest.mark.parametrize(("exponent", "weight"), [(1, 4.0), (2, 8.0)])
def test_training_collapses_the_tails_and_truncation_then_costs_little(exponent: Exponent, weight: float) -> None:
    plain, low = trained_net(), trained_net()
    fit(plain, epochs=4)
    fit(low, Bsr(matrices(low, PLAN), BsrSettings(weight, exponent)), epochs=4)
    assert all(b < 0.4 * a for a, b in zip(tails(plain), tails(low), strict=True)) and max(tails(low)[:2]) < 0.02
    assert all(b > a for a, b in zip(heads(plain), heads(low), strict=True))  # a nuclear norm would shrink them, too
    assert accuracy(low) > accuracy(plain) - 0.03
    assert accuracy(cut(low)) > max(accuracy(cut(plain)) + 0.05, accuracy(low) - 0.02)
