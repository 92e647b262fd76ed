"""Ranks that are worth pricing."""
import pytest

from edgelr.errors import UsageError
from edgelr.ranks import rank_candidates


def test_ranks_lie_on_the_targets_steps_and_never_above_break_even() -> None:
    assert rank_candidates(max_rank=64, steps=16, break_even=57, count_max=8) == (16, 32, 48)


def test_many_ranks_are_thinned_evenly_and_keep_the_smallest_and_the_largest() -> None:
    assert rank_candidates(max_rank=512, steps=8, break_even=460, count_max=5) == (8, 120, 232, 344, 456)


def test_ranks_never_exceed_full_rank() -> None:
    assert rank_candidates(max_rank=10, steps=4, break_even=100, count_max=10) == (4, 8)


def test_a_layer_that_pays_only_below_one_step_has_nothing_to_offer() -> None:
    assert rank_candidates(max_rank=16, steps=16, break_even=14, count_max=8) == ()


def test_with_steps_of_one_every_rank_counts() -> None:
    assert rank_candidates(max_rank=8, steps=1, break_even=3, count_max=8) == (1, 2, 3)


def test_a_single_candidate_is_the_one_that_hurts_least() -> None:
    assert rank_candidates(max_rank=64, steps=8, break_even=50, count_max=1) == (48,)


@pytest.mark.parametrize("break_even", [0, -3])
def test_a_layer_that_never_pays_has_no_candidates(break_even: int) -> None:
    assert rank_candidates(max_rank=8, steps=1, break_even=break_even, count_max=4) == ()


@pytest.mark.parametrize(("steps", "count_max"), [(0, 4), (4, 0)])
def test_nonsense_settings_are_a_usage_error(steps: int, count_max: int) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        rank_candidates(max_rank=8, steps=steps, break_even=8, count_max=count_max)
