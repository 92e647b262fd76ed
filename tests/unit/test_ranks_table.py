"""Totals, limits, pruning and the least that can be reached."""
import math

import pytest

from edgelr.errors import EdgelrError
from edgelr.ranks import least, meets, prune, total
from edgelr.vocabulary import DENSE, Candidate, Choice, Plan


def low(rank: int, error: float, scheme: str = "channel", **costs: float) -> Candidate:
    return Candidate(Choice(scheme, rank), costs, error)  # type: ignore[arg-type]


def dense(**costs: float) -> Candidate:
    return Candidate(DENSE, costs, 0.0)


def test_a_total_is_base_plus_the_chosen_candidates() -> None:
    table = {"a": (dense(params=10, us=4), low(1, 0.5, params=2, us=5)), "b": (dense(params=20, us=8),)}
    assert total(Plan({"a": Choice("channel", 1)}), table, {"params": 100.0}) == {"params": 122.0, "us": 13.0}


def test_a_total_exactly_at_the_limit_meets_it_and_one_bit_over_does_not() -> None:
    table = {n: (dense(us=0.1),) for n in "abcdefghij"}
    assert meets(Plan(), table, {"us": 1.0}, {})
    assert not meets(Plan(), table, {"us": math.nextafter(1.0, 0)}, {})


def test_pruning_drops_what_another_candidate_beats_in_error_and_in_every_budgeted_cost() -> None:
    better, beaten = low(2, 0.2, params=4, us=3), low(3, 0.3, params=6, us=3)
    table = {"a": (dense(params=10, us=4), beaten, better)}
    assert prune(table, {"params": 1, "us": 1}) == {"a": (dense(params=10, us=4), better)}


def test_pruning_keeps_what_wins_in_one_budgeted_cost() -> None:
    table = {"a": (dense(params=10, us=4), low(2, 0.2, params=4, us=3), low(2, 0.2, "spatial", params=6, us=2))}
    assert prune(table, {"params": 1, "us": 1}) == table
    assert len(prune(table, {"params": 1})["a"]) == 2


def test_of_two_equal_candidates_the_first_stays() -> None:
    table = {"a": (dense(params=10), low(2, 0.2, params=4), low(2, 0.2, "spatial", params=4))}
    assert [str(c.choice) for c in prune(table, {"params": 1})["a"]] == ["dense", "channel r2"]


def test_nothing_above_break_even_for_the_budgeted_cost_is_kept_and_dense_always_is() -> None:
    table = {"a": (low(1, 0.0, params=4, us=9), dense(params=10, us=4), low(5, 0.0, params=9, us=5))}
    assert prune(table, {"us": 1}) == {"a": (dense(params=10, us=4),)}
    assert dense(params=10, us=4) in prune(table, {"params": 1})["a"]


def test_the_least_is_the_sum_of_each_layers_cheapest() -> None:
    table = {"a": (dense(params=10, us=4), low(1, 0.5, params=2, us=5)), "b": (dense(params=20, us=8),)}
    assert least(table, {"params": 1, "us": 1}, {"us": 1.0}) == {"params": 22.0, "us": 13.0}


def test_a_choice_that_was_not_priced_is_named() -> None:
    table = {"a": (dense(params=10),)}
    for layer in ("a", "elsewhere"):
        with pytest.raises(EdgelrError, match=f"{layer} channel r3"):
            total(Plan({layer: Choice("channel", 3)}), table, {})


@pytest.mark.parametrize(
    "candidates",
    [
        (low(1, 0.1, params=1),),
        (dense(params=2), low(1, math.nan, params=1)),
        (dense(params=2), low(1, 0.1)),
        (dense(params=2), low(1, -0.1, params=1)),
        (dense(params=math.inf),),
    ],
)
def test_a_table_with_holes_is_refused_by_the_name_of_the_layer(candidates: tuple[Candidate, ...]) -> None:
    with pytest.raises(EdgelrError, match="stem"):
        prune({"stem": candidates}, {"params": 1.0})
