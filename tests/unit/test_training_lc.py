"""Learning-compression: the C step in training, the penalty and its multipliers, and the plan that training finds."""
from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch
from lowrank_sample import accuracy, batches, fit, trained_net, with_spectrum
from torch import Tensor, nn

from edgelr.factorize import break_even_rank, choice_cost, matrices_of
from edgelr.models import survey
from edgelr.ranks import Table, c_step, meets, total
from edgelr.training import LcSettings, LearningCompression, recalibrate
from edgelr.vocabulary import DENSE, Candidate, Choice, Plan, Scheme

EVEN = LcSettings(steps=50, first=2.0, last=2.0, multipliers=False)


def linear(*weights: Tensor) -> nn.Sequential:
    """Linear layers of these weights, "0", "1", …"""
    net = nn.Sequential(*(nn.Linear(w.shape[1], w.shape[0], False, dtype=w.dtype) for w in weights))
    with torch.no_grad():
        for layer, w in zip(net, weights, strict=True):
            layer.weight.copy_(w)  # type: ignore[union-attr, operator]
    return net


def rows(net: nn.Module, example: Tensor, schemes: Sequence[Scheme] = ("linear",)) -> Table:
    """Every rank below break-even, priced in parameters and MACs; errors are the method's to find."""
    found = {}
    for layer in survey(net, example):
        choices = [Choice(s, r) for s in layer.schemes if s in schemes for r in range(1, break_even_rank(layer, s, "params") + 1)]
        if choices:
            costs = {c: dict(zip(("params", "macs"), map(float, choice_cost(layer, c)), strict=True)) for c in (DENSE, *choices)}  # type: ignore[arg-type]
            found[layer.name] = tuple(Candidate(c, cost, 0.0) for c, cost in costs.items())
    return found


def dense(table: Table) -> dict[str, float]:
    return total(Plan(), table, {})


def ready(net: nn.Module, share: float, settings: LcSettings, steps: int = 50) -> LearningCompression:
    table = rows(net, torch.zeros(1, net[0].in_features, dtype=net[0].weight.dtype))  # type: ignore[index, union-attr, arg-type]
    method = LearningCompression(net, table, {"params": share * dense(table)["params"]}, {}, settings)
    method.start(steps, torch.optim.SGD(net.parameters(), 0.1))
    return method


def cut(matrix: Tensor, rank: int | None) -> Tensor:
    u, s, vh = torch.linalg.svd(matrix.detach(), full_matrices=False)
    return (u[:, :rank] * s[:rank]) @ vh[:rank]


def penalty(method: LearningCompression) -> float:
    value = method.penalty()
    return 0.0 if value is None else float(value.detach())


def test_the_plan_is_the_c_step_of_the_weights_and_the_penalty_their_tails() -> None:
    net = linear(*(torch.randn(8, 8, dtype=torch.float64) * s for s in (1.0, 100.0, 0.01)))
    method = ready(net, 0.6, LcSettings(first=3.0))
    tails = {n: torch.linalg.svdvals(net[int(n)].weight.detach()).square() for n in "012"}  # type: ignore[arg-type]
    errors = {n: [float(t[r:].sum() / t.sum()) for r in range(9)] for n, t in tails.items()}
    table = {n: tuple(Candidate(c.choice, c.costs, errors[n][c.choice.rank or 8]) for c in cs) for n, cs in method.table.items()}
    assert method.plan == c_step(table, method.limits, {}) and len(method.plan.factorised()) >= 2
    assert penalty(method) == pytest.approx(3.0 / 2 * sum(errors[n][c.rank or 8] for n, c in method.plan.factorised().items()))


def test_for_one_layer_it_is_the_largest_rank_that_the_budget_has_room_for() -> None:
    for share, rank in ((0.1, 1), (0.5, 5), (0.69, 6), (0.7, 7), (0.97, 9)):
        method = ready(linear(torch.randn(20, 20)), share, LcSettings())
        assert method.plan["0"] == Choice("linear", rank)


def test_a_budget_of_the_dense_network_adds_nothing_and_changes_nothing() -> None:
    net = linear(torch.randn(6, 6), torch.randn(6, 6))
    before = [layer.weight.detach().clone() for layer in net]  # type: ignore[union-attr, operator]
    method = ready(net, 1.0, LcSettings())
    assert method.penalty() is None
    method.finish()
    assert not method.plan.factorised() and all(torch.equal(layer.weight, w) for layer, w in zip(net, before, strict=True))


@pytest.mark.parametrize("multipliers", [True, False])
def test_targets_and_multipliers_follow_the_augmented_lagrangian(multipliers: bool) -> None:
    net = linear(torch.randn(12, 10, dtype=torch.float64))
    weight = net[0].weight
    norm = float(weight.detach().square().sum())  # type: ignore[operator, arg-type]
    method = ready(net, 0.5, LcSettings(3, 0.5, 50.0, multipliers), steps=9)
    rank, lagrange, theta = method.plan["0"].rank, torch.zeros(12, 10, dtype=torch.float64), cut(weight, method.plan["0"].rank)  # type: ignore[arg-type]
    for mu, after, changed in ((0.5, 5.0, True), (5.0, 50.0, True), (50.0, 50.0, False)):
        assert penalty(method) == pytest.approx(mu / 2 * float((weight.detach() - theta - lagrange / mu).square().sum()) / norm)  # type: ignore[operator]
        with torch.no_grad():
            weight.add_(torch.randn(12, 10, dtype=torch.float64), alpha=0.3)  # type: ignore[operator]
        for step in (1, 2, 3):
            method.after_step(3 * {0.5: 0, 5.0: 1, 50.0: 2}[mu] + step)
        if changed:
            theta = cut(weight - lagrange / mu, rank)  # type: ignore[operator]
            lagrange = lagrange - mu * (weight.detach() - theta) if multipliers else lagrange  # type: ignore[operator]
        assert penalty(method) == pytest.approx(after / 2 * float((weight.detach() - theta - lagrange / after).square().sum()) / norm)  # type: ignore[operator]


def quadratic_steps(net: nn.Sequential, wanted: Sequence[Tensor], method: LearningCompression, steps: int) -> list[float]:
    """Exact L steps of half the squared distances from ``wanted``, a C step behind each; the objective after every half step."""
    seen = []

    def objective() -> float:
        return sum(float((layer.weight.detach() - w).square().sum()) / 2 for layer, w in zip(net, wanted, strict=True)) + penalty(method)

    for step in range(1, steps + 1):
        seen.append(objective())
        with torch.no_grad():
            for (name, held), w in zip(method.held.items(), wanted, strict=True):
                strength = method.mu / held.norm
                held.weight.copy_(w if held.target is None else (w + strength * held.target) / (1 + strength))
                assert name in method.table
        seen.append(objective())
        method.after_step(step)
    return seen


@pytest.mark.parametrize("seed", range(8))
def test_with_a_fixed_penalty_no_half_step_raises_the_objective(seed: int) -> None:
    torch.manual_seed(seed)
    begin = [torch.randn(8, 8, dtype=torch.float64) for _ in range(3)]
    wanted = [torch.randn(8, 8, dtype=torch.float64) @ torch.diag(0.7 ** torch.arange(8, dtype=torch.float64)) for _ in range(3)]
    net = linear(*begin)
    method = ready(net, 0.5, EVEN)
    seen = quadratic_steps(net, wanted, method, 40)
    assert all(b <= a + 1e-12 for a, b in pairwise(seen)) and seen[-1] < 0.9 * seen[0]


@pytest.mark.parametrize("multipliers", [True, False])
def test_weights_come_to_their_low_rank_copies_and_the_last_truncation_takes_little(multipliers: bool) -> None:
    wanted = [torch.randn(10, 10, dtype=torch.float64) for _ in range(2)]
    net = linear(*wanted)
    method = ready(net, 0.5, LcSettings(40, 1.0, 1e4, multipliers), steps=40)
    quadratic_steps(net, wanted, method, 40)
    before = [layer.weight.detach().clone() for layer in net]  # type: ignore[union-attr, operator]
    method.finish()
    for name, (layer, w) in enumerate(zip(net, before, strict=True)):
        assert torch.allclose(layer.weight, cut(w, method.plan[str(name)].rank), atol=1e-12)  # type: ignore[union-attr, arg-type]
        assert float((layer.weight.detach() - w).norm()) < 0.05 * float(w.norm())  # type: ignore[union-attr, operator]


def test_ranks_that_were_planted_are_found_though_training_began_elsewhere() -> None:
    spectra = [[5.0, 4.0], [5.0, 4.5, 4.0, 3.5, 3.0]]
    wanted = [with_spectrum(s, 20, 20, i) + 0.01 * torch.randn(20, 20, dtype=torch.float64) for i, s in enumerate(spectra)]
    net = linear(*(with_spectrum(s, 20, 20, i + 5) for i, s in enumerate(reversed(spectra))))
    method = ready(net, 7 * 40 / 800, LcSettings(30, 0.5, 50.0), steps=30)
    assert [method.plan[n].rank for n in "01"] == [5, 2]
    quadratic_steps(net, wanted, method, 30)
    method.finish()
    assert [method.plan[n].rank for n in "01"] == [2, 5]
    assert all(float((layer.weight.detach() - w).norm()) < 0.05 * float(w.norm()) for layer, w in zip(net, wanted, strict=True))


@pytest.mark.parametrize(("limits", "schemes"), [
    ({"params": 0.3}, ("channel", "spatial", "linear")), ({"macs": 0.4, "params": 0.5}, ("channel", "linear")),
    ({"macs": 0.2}, ("spatial",)),
])  # fmt: skip
def test_trained_it_meets_its_budgets_with_weights_of_the_plans_ranks(limits: dict[str, float], schemes: tuple[Scheme, ...]) -> None:
    net = trained_net()
    table = rows(net, torch.zeros(1, 1, 8, 8), schemes)
    bounds = {k: share * dense(table)[k] for k, share in limits.items()}
    method = LearningCompression(net, table, bounds, {}, LcSettings(steps=6, first=1.0, last=20.0))
    fit(net, method)
    assert meets(method.plan, table, bounds, {})
    for name, choice in method.plan.factorised().items():
        singular = torch.linalg.svdvals(matrices_of(net.get_submodule(name).weight.detach(), choice.scheme, 1).double())[0]  # type: ignore[arg-type, union-attr, operator]
        assert float(singular[choice.rank :].norm()) < 1e-5 * float(singular.norm()) and {c.choice for c in table[name]} >= {choice}


def test_training_with_it_keeps_more_than_the_same_step_after_plain_training() -> None:
    found = {}
    for way in ("lc", "plain"):
        net = trained_net()
        table = rows(net, torch.zeros(1, 1, 8, 8), ("spatial",))
        limits = {"macs": 0.15 * dense(table)["macs"]}
        method = LearningCompression(net, table, limits, {}, LcSettings(steps=8, first=1.0, last=30.0))
        if way == "lc":
            fit(net, method, epochs=4)
        else:
            fit(net, epochs=4)
            method.start(1, torch.optim.SGD(net.parameters(), 0.1))
            method.finish()
        recalibrate(net, list(batches().epoch(9)))
        found[way] = accuracy(net)
    assert found["lc"] > found["plain"] + 0.03
