"""Rank-Tuning's search on tables small enough for brute force, and on recurrent networks."""
from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from edgelr.errors import BudgetError
from edgelr.factorize import decompose, matrices_of, named_layers, rebuild
from edgelr.ranks import FunctionScorer, Table, meets, rank_tuning, total
from edgelr.vocabulary import DENSE, Candidate, Choice, Plan

SIDES = {"a": (12, 20), "b": (30, 8), "c": (16, 16)}


def table(sides: dict[str, tuple[int, int]] | None = None) -> Table:
    """Every rank that costs less than dense, with an error that falls with it."""
    rows = {}
    for n, (name, (rows_of, columns)) in enumerate((sides or SIDES).items()):
        most = (rows_of * columns - 1) // (rows_of + columns)
        found = [Candidate(DENSE, {"params": float(rows_of * columns)}, 0.0)]
        found += [Candidate(Choice("linear", r), {"params": float(r * (rows_of + columns))}, (n + 1) / r**2) for r in range(1, most + 1)]
        rows[name] = tuple(found)
    return rows


# What each layer's rank costs of the score; b falls below its neighbours once, as accuracies on few samples do.
LOST = {
    "a": {1: 0.4, 2: 0.09, 3: 0.05, 4: 0.02, 5: 0.01, 6: 0.0, 7: 0.0},
    "b": {1: 0.3, 2: 0.04, 3: 0.06, 4: 0.03, 5: 0.005, 6: 0.001},
    "c": {1: 0.9, 2: 0.7, 3: 0.5, 4: 0.3, 5: 0.2, 6: 0.15, 7: 0.1},
}


def lost(name: str, choice: Choice) -> float:
    return 0.0 if choice.rank is None else LOST[name][choice.rank]


def score(plan: Plan, together: float = 0.0) -> float:
    """Each layer's loss, and more where several are truncated: errors add up."""
    own = [lost(n, plan[n]) for n in SIDES]
    return 1.0 - sum(own) - together * (sum(1 for n in SIDES if plan[n] != DENSE) > 1) * max(own)


class Counting:
    """A scorer that keeps what it was asked."""

    def __init__(self, fn: Callable[[Plan], float]) -> None:
        self.fn, self.asked = fn, list[Plan]()

    def score(self, plan: Plan) -> float:
        self.asked.append(plan)
        return self.fn(plan)

    def score_moves(self, parent: Plan, moves: object) -> list[float]:
        return [self.score(parent.replace(*move)) for move in moves]  # type: ignore[attr-defined]


@pytest.mark.parametrize("tolerated", [0.0, 0.005, 0.02, 0.05, 0.1, 0.35, 2.0])
def test_alone_each_layer_has_the_smallest_rank_that_reaches_the_threshold(tolerated: float) -> None:
    found = rank_tuning(table(), {}, {}, FunctionScorer(lambda plan: score(plan)), floor=1 - tolerated)
    within = found.threshold - 1e-9
    for name in SIDES:
        alone = [r for r in sorted(LOST[name]) if 1 - LOST[name][r] >= within]
        assert found.alone[name] == (Choice("linear", alone[0]) if alone else DENSE)
    assert score(found.plan) >= 1 - tolerated - 1e-9 and found.score == score(found.plan)


def test_the_plan_of_a_floor_is_no_larger_than_any_that_lowering_one_layer_would_reach() -> None:
    for tolerated in (0.05, 0.1, 0.2, 0.5):
        found = rank_tuning(table(), {}, {}, FunctionScorer(lambda plan: score(plan, 0.5)), floor=1 - tolerated)
        size = total(found.plan, table(), {})["params"]
        assert score(found.plan, 0.5) >= 1 - tolerated
        for name, candidates in table().items():
            here = next(c for c in candidates if c.choice == found.plan[name])
            cheaper = [c for c in candidates if c.costs["params"] < here.costs["params"]]
            if cheaper:
                nearest = max(cheaper, key=lambda c: c.costs["params"])
                assert score(found.plan.replace(name, nearest.choice), 0.5) < 1 - tolerated
        options = [[c.choice for c in cs] for cs in table().values()]
        plans = (Plan(dict(zip(SIDES, chosen, strict=True))) for chosen in itertools.product(*options))
        least = min(total(p, table(), {})["params"] for p in plans if score(p, 0.5) >= 1 - tolerated)
        assert size <= 1.35 * least


def test_any_loss_is_tolerated_by_the_smallest_rank_and_none_by_dense() -> None:
    everything = rank_tuning(table(), {}, {}, FunctionScorer(lambda plan: score(plan)), floor=-math.inf)
    assert all(everything.plan[n] == Choice("linear", 1) for n in SIDES)
    nothing = rank_tuning(table(), {}, {}, FunctionScorer(lambda plan: score(plan)), floor=1.5)
    assert not nothing.plan.factorised() and not nothing.alone.factorised() and nothing.score == 1.0


def test_truncated_together_the_plan_is_repaired_until_the_joint_score_holds() -> None:
    found = rank_tuning(table(), {}, {}, FunctionScorer(lambda plan: score(plan, 2.0)), floor=0.9)
    assert found.threshold > 0.9  # what each layer alone could lose, they can't lose together
    assert found.score >= 0.9 - 1e-12
    easy = rank_tuning(table(), {}, {}, FunctionScorer(lambda plan: score(plan)), floor=0.9)
    assert total(found.plan, table(), {})["params"] > total(easy.plan, table(), {})["params"]


def test_a_dip_in_the_scores_does_not_end_the_search() -> None:
    """Tolerating more, a layer alone goes further down, to where the other one can't follow."""
    heavy, light = {2: 100.0, 1: 80.0, None: 200.0}, {2: 8.0, 1: 7.0, None: 20.0}
    rows: Table = {n: tuple(Candidate(Choice("linear", r) if r else DENSE, {"params": p}, 0.1 * bool(r)) for r, p in prices.items())
                   for n, prices in (("x", heavy), ("y", light))}
    alone = {(None, None): 1.0, (2, None): 0.99, (1, None): 0.95, (None, 2): 0.99, (None, 1): 0.97}
    joint = alone | {(2, 1): 0.969, (1, 1): 0.96, (2, 2): 0.985, (1, 2): 0.975}
    scorer = FunctionScorer(lambda plan: joint[plan["x"].rank, plan["y"].rank])
    strict, loose = (rank_tuning(rows, {}, {}, scorer, floor=floor) for floor in (0.972, 0.968))
    assert (strict.plan["x"].rank, strict.plan["y"].rank) == (loose.plan["x"].rank, loose.plan["y"].rank) == (1, 2)
    assert (loose.alone["x"].rank, loose.alone["y"].rank) == (2, 1)


def test_each_plan_is_scored_once_and_a_scan_ends_where_nothing_is_lost() -> None:
    scorer = Counting(score)
    found = rank_tuning(table(), {}, {}, scorer, floor=0.9)
    assert len(scorer.asked) == len(set(scorer.asked)) == found.evaluations
    flat = Counting(lambda plan: 1.0)
    found = rank_tuning(table(), {}, {}, flat, floor=0.9)
    assert all(found.plan[n].rank == 1 for n in SIDES)
    assert not any((plan[n].rank or 0) > 4 for plan in flat.asked for n in SIDES)
    assert [choice.rank for choice, _ in found.curves["a"]] == [1, 2, 3, 4]


@pytest.mark.parametrize("limit", [130, 160, 250, 400, 600])
def test_a_budget_holds_and_takes_the_smallest_common_loss(limit: float) -> None:
    base = {"params": 20.0}
    found = rank_tuning(table(), {"params": limit}, base, FunctionScorer(lambda plan: score(plan)))
    assert meets(found.plan, table(), {"params": limit}, base) and found.score >= score(found.alone)
    thresholds = sorted({1 - v for ranks in LOST.values() for v in ranks.values()}, reverse=True)
    for t in thresholds:  # brute force: no higher threshold's plan meets the limit
        plan = Plan({n: next((Choice("linear", r) for r in sorted(LOST[n]) if 1 - LOST[n][r] >= t - 1e-12), DENSE) for n in SIDES})
        if meets(plan, table(), {"params": limit}, base):
            assert found.threshold == pytest.approx(t) and found.alone == plan
            break


def test_what_a_budget_leaves_is_given_back() -> None:
    limit = 280.0
    found = rank_tuning(table(), {"params": limit}, {}, FunctionScorer(lambda plan: score(plan)))
    assert found.score > score(found.alone) and meets(found.plan, table(), {"params": limit}, {})


def test_several_limits_hold_together_and_those_out_of_reach_are_told() -> None:
    both: Table = {n: tuple(Candidate(c.choice, {**c.costs, "us": 500 / c.costs["params"] + (c.choice.rank or 4)}, c.error) for c in cs)
                   for n, cs in table().items()}
    limits = {"params": 450.0, "us": 23.0}
    found = rank_tuning(both, limits, {}, FunctionScorer(lambda plan: score(plan)))
    assert meets(found.plan, both, limits, {}) and found.plan.factorised()
    with pytest.raises(BudgetError) as told:
        rank_tuning(both, {"params": 10.0}, {}, FunctionScorer(lambda plan: score(plan)))
    assert told.value.least is not None


def test_a_limit_holds_beside_a_floor() -> None:
    def us(name: str, choice: Choice) -> float:
        return 10.0 if choice == DENSE else 11.0 if name == "a" else 9.0

    slow: Table = {n: tuple(Candidate(c.choice, {**c.costs, "us": us(n, c.choice)}, c.error) for c in cs) for n, cs in table().items()}
    found = rank_tuning(slow, {"us": 30.0}, {}, FunctionScorer(lambda plan: score(plan)), floor=0.5)
    assert found.plan["a"] == DENSE and found.plan["b"] != DENSE and meets(found.plan, slow, {"us": 30.0}, {})
    none = rank_tuning(slow, {"us": 27.5}, {}, FunctionScorer(lambda plan: score(plan)), floor=0.99)
    assert not none.plan.factorised()  # no plan that is fast enough keeps the floor


def test_few_evaluations_thin_the_scan_out() -> None:
    scorer = Counting(score)
    found = rank_tuning(table(), {}, {}, scorer, floor=0.6, max_evaluations=14)
    assert len(scorer.asked) <= 14 + 4 and found.score >= 0.6 and found.plan.factorised()


class Sequence(nn.Module):
    def __init__(self, kind: type[nn.LSTM | nn.GRU]) -> None:
        super().__init__()
        self.rnn = kind(10, 24, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.rnn(x)[0][:, -1]
        return y


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_planted_ranks_are_found_without_loss_and_other_weights_stay(kind: type[nn.LSTM | nn.GRU]) -> None:
    torch.manual_seed(0)
    net, planted = Sequence(kind).eval(), {"rnn.weight_ih_l0": 3, "rnn.weight_hh_l0": 5}
    with torch.no_grad():
        for name, rank in planted.items():
            weight = named_layers(net)[name].weight
            m, n = weight.shape  # type: ignore[union-attr, misc]
            weight.copy_(torch.randn(m, rank) @ torch.randn(rank, n) / rank / 3)  # type: ignore[union-attr, operator]
    layers = {name: named_layers(net)[name] for name in planted}
    x = torch.randn(64, 6, 10)
    made = {(name, "recurrent"): decompose(layer, "recurrent") for name, layer in layers.items()}
    wanted = net(x).detach()

    def agreement(plan: Plan) -> float:
        with torch.no_grad():
            return 1.0 - float((rebuild(net, plan, made)(x) - wanted).abs().max().clamp(min=1e-4))  # type: ignore[arg-type]

    rows: Table = {}
    for name, layer in layers.items():
        m, n = layer.weight.shape  # type: ignore[union-attr, misc]
        found = [Candidate(DENSE, {"params": float(m * n)}, 0.0)]
        rows = {**rows, name: (*found, *(Candidate(Choice("recurrent", r), {"params": float(r * (m + n))}, 1 / r)
                                         for r in range(1, (m * n - 1) // (m + n) + 1)))}
    tuned = rank_tuning(rows, {}, {}, FunctionScorer(agreement), floor=agreement(Plan()))
    assert {name: tuned.plan[name].rank for name in planted} == planted
    assert tuned.score == agreement(Plan())
    small = rebuild(net, tuned.plan, made)  # type: ignore[arg-type]
    biases = {n: p for n, p in net.named_parameters() if "bias" in n}
    assert biases and all(torch.equal(small.get_parameter(n), p) for n, p in biases.items())
    assert all(r * sum(layers[n].weight.shape) < matrices_of(layers[n].weight, "recurrent", 1).numel()  # type: ignore[union-attr, arg-type]
               for n in planted for r in [c.rank for c, _ in tuned.curves[n] if c.rank])
