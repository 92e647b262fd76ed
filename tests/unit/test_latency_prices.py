"""Prices: predictions add up, corrections make the last measurement true, variants show every choice once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgelr.latency import Prices, variants
from edgelr.latency.op_times import OpTimes
from edgelr.latency.prices import layer_us
from edgelr.vocabulary import DENSE, Choice, Plan

R16, R32, S16 = Choice("channel", 16), Choice("channel", 32), Choice("spatial", 16)
OPTIONS = {"a": (R16, R32), "b": (S16,)}
PRICES = Prices("litert", "a board", {("a", DENSE): 100.0, ("a", R16): 40.0, ("a", R32): 70.0, ("b", DENSE): 50.0, ("b", S16): 45.0}, 30.0)


def test_a_prediction_is_the_base_and_each_layers_price() -> None:
    assert PRICES.predicted_us(Plan(), OPTIONS) == 180
    assert PRICES.predicted_us(Plan({"a": R16}), OPTIONS) == 120
    assert PRICES.predicted_us(Plan({"a": R32, "b": S16}), OPTIONS) == 145


@given(st.sampled_from([Plan({"a": R16}), Plan({"a": R32}), Plan({"b": S16}), Plan({"a": R16, "b": S16})]), st.floats(0.6, 1.6))
def test_after_a_correction_the_plan_is_predicted_as_measured_and_dense_as_before(plan: Plan, off: float) -> None:
    pairs = sum(PRICES.us[n, c] for n, c in plan.factorised().items())
    measured = PRICES.predicted_us(plan, OPTIONS) + (off - 1) * pairs
    corrected = PRICES.corrected(plan, measured)
    assert corrected.predicted_us(plan, OPTIONS) == pytest.approx(measured)
    assert corrected.predicted_us(Plan(), OPTIONS) == 180
    assert corrected.us["a", R32] / corrected.us["a", R16] == pytest.approx(70 / 40)  # one shift for all of its kind


def test_a_correction_is_bounded_and_the_dense_network_teaches_nothing() -> None:
    assert PRICES.corrected(Plan({"a": R16}), 1e6).us["a", R16] == 80
    assert PRICES.corrected(Plan({"a": R16}), 81).us["a", R16] == 20
    assert PRICES.corrected(Plan(), 500) == PRICES
    assert PRICES.corrected(Plan({"a": R16}), 60) == PRICES  # less than its dense part alone: a measurement that can't be


def test_variants_show_every_choice_in_as_few_networks_as_can_be() -> None:
    plans = variants(OPTIONS)
    assert plans == (Plan(), Plan({"a": R16, "b": S16}), Plan({"a": R32}))
    assert variants({}) == (Plan(),)


@given(
    st.dictionaries(
        st.text("abc", min_size=1, max_size=3),
        st.lists(st.builds(Choice, st.just("channel"), st.integers(1, 64)), min_size=1, max_size=6, unique=True),
    )
)
def test_no_choice_is_left_without_a_network_that_has_it(options: dict[str, list[Choice]]) -> None:
    plans = variants({n: tuple(c) for n, c in options.items()})
    assert len(plans) == 1 + max(map(len, options.values()), default=0)
    for name, found in options.items():
        assert {plan[name] for plan in plans} == {DENSE, *found}


def test_a_layer_is_charged_its_halves_and_what_was_put_in_for_them_and_no_namesake() -> None:
    times = OpTimes(
        "litert", 1, {"conv.0": 10, "conv.0/pad": 2, "conv.1": 5, "conv.10": 100, "conv": 1, "convolve": 50, "x/conv": 70}, 3, 241
    )
    assert layer_us(times, "conv") == 18
    assert layer_us(times, "conv.10") == 100
