"""What each method chooses on tables small enough to check by hand."""
import itertools
import math

import pytest

from edgelr.errors import BudgetError, Exit
from edgelr.ranks import FunctionScorer, Table, additive, beam, energy, error_of, meets, total, uniform
from edgelr.ranks.polish import polish
from edgelr.ranks.scorer import Ledger
from edgelr.ranks.space import Space
from edgelr.vocabulary import DENSE, Candidate, Choice, Plan


def layer(params: float, ranks: dict[int, float], per_rank: float, scheme: str = "channel", us: float = 0.0) -> tuple[Candidate, ...]:
    """Dense and one candidate a rank (rank: error); time is ``us`` for dense and 2 us less a rank above for the others."""
    low = (Candidate(Choice(scheme, r), {"params": r * per_rank, "us": us + 1}, e) for r, e in ranks.items())  # type: ignore[arg-type]
    return (Candidate(DENSE, {"params": params, "us": us}, 0.0), *low)


TABLE: Table = {
    "a": layer(100, {2: 4.0, 4: 2.0, 8: 1.0}, 10),
    "b": layer(100, {2: 40.0, 4: 20.0, 8: 10.0}, 10),
}


def by_error(table: Table) -> FunctionScorer:
    return FunctionScorer(lambda plan: -error_of(plan, table))


def choices(plan: Plan) -> str:
    return ", ".join(f"{n} {plan[n]}" for n in sorted(plan.choices))


def test_uniform_takes_the_largest_common_fraction() -> None:
    assert choices(uniform(TABLE, {"params": 165}, {})) == "a channel r8, b channel r8"
    assert choices(uniform(TABLE, {"params": 100}, {})) == "a channel r4, b channel r4"


def test_uniform_leaves_a_layer_dense_that_nothing_pays_for() -> None:
    table = {**TABLE, "c": layer(100, {8: 0.1}, 20)}
    assert choices(uniform(table, {"params": 200}, {})) == "a channel r4, b channel r4, c dense"


def test_uniform_uses_one_scheme_the_one_with_less_error() -> None:
    both = {n: (*cs, *layer(100, {2: 3.0, 4: 1.5, 8: 0.5}, 10, "spatial")[1:]) for n, cs in TABLE.items()}
    assert choices(uniform(both, {"params": 100}, {})) == "a spatial r4, b spatial r4"


def test_energy_takes_the_smallest_common_threshold() -> None:
    assert choices(energy(TABLE, {"params": 120}, {})) == "a channel r2, b dense"
    assert choices(energy(TABLE, {"params": 105}, {})) == "a channel r2, b channel r8"


def test_additive_tells_its_optimum_and_that_it_is_proven() -> None:
    result = additive(TABLE, {"params": 120}, {})
    assert choices(result.plan) == "a channel r2, b dense"
    assert (result.error, result.status) == (4.0, "optimal")
    assert result.bound == pytest.approx(4.0) and result.gap == pytest.approx(0.0, abs=1e-9)


def test_additive_finds_small_optima_beside_errors_of_many_orders_of_magnitude() -> None:
    table = {f"l{i}": layer(100, {1: 10.0**i, 2: 10.0 ** (i - 8)}, 30) for i in range(-6, 7)}
    limits = {"params": 13 * 100 - 3 * 40.0}
    expected = 10.0**-14 + 10.0**-13 + 10.0**-12
    assert additive(table, limits, {}).error == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("method", [uniform, energy, additive, lambda t, m, b: beam(t, m, b, by_error(t))])
def test_a_budget_below_the_least_is_refused_with_the_least(method: object) -> None:
    with pytest.raises(BudgetError) as caught:
        method(TABLE, {"params": 45.0}, {"params": 10.0})  # type: ignore[operator]
    assert caught.value.exit_code == Exit.BUDGET
    assert caught.value.least == {"params": 50.0}
    assert "45 parameters" in str(caught.value) and "50 parameters" in str(caught.value) and "11.1% over" in str(caught.value)


@pytest.mark.parametrize("method", [uniform, energy, additive, lambda t, m, b: beam(t, m, b, by_error(t))])
def test_budgets_that_conflict_are_refused_with_the_least_that_can_be_met_together(method: object) -> None:
    # Alone, 40 parameters and 20 us can be met. Together: both factorised gives 40 and 22, one gives 120 and 21.
    table = {n: layer(100, {2: 1.0}, 10, us=10) for n in "ab"}
    with pytest.raises(BudgetError) as caught:
        method(table, {"params": 60.0, "us": 20.0}, {})  # type: ignore[operator]
    assert caught.value.least == {"params": 40.0, "us": 20.0}
    assert "10.00%" in str(caught.value) and "40 parameters" in str(caught.value)


@pytest.mark.parametrize("kind", ["params", "us"])
def test_a_budget_of_the_full_cost_returns_all_dense(kind: str) -> None:
    limits = {kind: total(Plan(), TABLE, {})[kind]}
    result = beam(TABLE, limits, {}, by_error(TABLE))
    plans = [uniform(TABLE, limits, {}), energy(TABLE, limits, {}), additive(TABLE, limits, {}).plan, result.plan]
    assert all(not plan.factorised() for plan in plans)
    assert result.evaluations == 1


def test_where_every_factorised_layer_is_slower_a_time_budget_gives_all_dense_or_is_refused() -> None:
    table = {n: layer(100, {2: 1.0, 4: 0.5}, 10, us=10) for n in "ab"}
    for method in (uniform, energy, lambda *a: additive(*a).plan, lambda *a: beam(*a, by_error(table)).plan):
        assert not method(table, {"us": 20.0}, {}).factorised()
        with pytest.raises(BudgetError, match="can't be met"):
            method(table, {"us": 19.0}, {})


def test_a_score_that_the_additive_errors_do_not_foresee_changes_the_choice() -> None:
    def score(plan: Plan) -> float:
        return -100.0 if plan["a"] == Choice("channel", 2) else -error_of(plan, TABLE)

    result = beam(TABLE, {"params": 120}, {}, FunctionScorer(score))
    best = max(score(p) for p in every_plan(TABLE) if meets(p, TABLE, {"params": 120}, {}))
    assert result.score == score(result.plan) == best


def test_a_net_that_breaks_down_loses_to_any_other() -> None:
    def score(plan: Plan) -> float:
        return math.nan if plan["a"] == Choice("channel", 2) else -error_of(plan, TABLE)

    assert math.isfinite(beam(TABLE, {"params": 120}, {}, FunctionScorer(score)).score)


def test_a_seed_that_scores_best_is_returned_and_one_over_the_limit_never_is() -> None:
    seed = Plan({"a": Choice("channel", 4), "b": Choice("channel", 2)})
    over = Plan({"a": Choice("channel", 8)})

    def score(plan: Plan) -> float:
        return 2.0 if plan == over else 1.0 if plan == seed else -error_of(plan, TABLE)

    assert beam(TABLE, {"params": 80}, {}, FunctionScorer(score), seed_plans=[over, seed], width=1, moves=1).plan == seed


def test_the_search_stops_at_its_allowance_with_a_plan_that_meets_the_limits() -> None:
    table = {f"l{i:02}": layer(100, {1: 9.0 + i, 3: 4.0, 5: 2.0, 8: 1.0}, 10) for i in range(12)}
    asked: list[Plan] = []
    told: list[tuple[int, int]] = []

    def score(plan: Plan) -> float:
        asked.append(plan)
        return -error_of(plan, table)

    for allowance in (3, 20, 100):
        asked.clear()
        result = beam(table, {"params": 500}, {}, FunctionScorer(score), max_evaluations=allowance, progress=lambda *p: told.append(p))
        assert meets(result.plan, table, {"params": 500}, {})
        assert result.evaluations == len(asked) == len(set(asked)) <= allowance
        assert told[-1] == (result.evaluations, allowance)


def test_the_polish_swaps_ranks_between_layers_where_no_single_rise_fits() -> None:
    over = Plan({"a": Choice("channel", 8), "b": Choice("channel", 2)})
    space = Space.of(TABLE, {"params": 100.0}, {})
    ledger = Ledger(space, by_error(TABLE), 100)
    ledger.score(space.state(over))
    assert choices(space.plan(polish(ledger, [space.state(over)], 8))) == "a channel r2, b channel r8"


def every_plan(table: Table) -> list[Plan]:
    return [Plan(dict(zip(table, (c.choice for c in cs), strict=True))) for cs in itertools.product(*table.values())]
