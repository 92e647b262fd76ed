"""A run's result among other budgets: what is in its frontier is what its files are, and the work for it is bounded."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from journey_sample import arrays, network

import edgelr
from edgelr.data import Data, Split
from edgelr.pipeline.frontier import SAMPLES_MIN, SHARES, WORK_MACS, affordable
from edgelr.report import FrontierPoint, Report


def data() -> Data:
    held = arrays()
    train, validation, test = (Split(held[f"x_{p}"], held[f"y_{p}"]) for p in ("train", "val", "test"))
    return Data(train, validation, test, train.take(np.arange(64)))


@cache
def run(budget: str = "60%KB") -> Report:
    few = {"score_samples": 100, "calibration_samples": 64}
    return edgelr.compress(network(), data(), budget=budget, method="additive", allow_slower=True, **few)


def points(**wanted: str) -> list[FrontierPoint]:
    return [p for p in run().frontier if all(getattr(p, k) == v for k, v in wanted.items())]


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_the_dense_network_and_the_result_are_there_as_their_files_are(format: str) -> None:
    report = run()
    (dense,) = points(plan="dense", numbers="int8", format=format)
    (result,) = points(plan="compressed", numbers="int8", format=format)
    assert dense.bytes == next(d.bytes for d in report.dense if d.format == format)
    assert result.bytes == next(a.bytes for a in report.artifacts if a.format == format)
    for plan, least in (("dense", 2.5), ("compressed", 2.0)):  # float weights are four times as large, all else is not
        (whole,) = points(plan=plan, numbers="float", format=format)
        (integers,) = points(plan=plan, numbers="int8", format=format)
        assert whole.bytes > least * integers.bytes


def test_all_points_are_scored_alike_and_timed() -> None:
    report = run()
    assert {(p.score.split, p.score.n, p.score.metric) for p in report.frontier} == {("validation", 100, "accuracy")}
    assert all(p.latency is not None and p.latency.how == "measured" and p.latency.ms.n > 1 for p in report.frontier)
    assert "frontier" in report.seconds


def test_the_dense_float_score_is_that_of_the_source_on_those_samples() -> None:
    split = data().validation
    assert split is not None and split.y is not None
    x, y = next(iter(split.take(np.arange(100)).batches(100)))
    assert y is not None
    right = float((network()(x).argmax(1) == y).float().mean())
    assert [p.score.value for p in points(plan="dense", numbers="float")] == pytest.approx([right, right])


def test_shares_cost_what_they_say_and_more_costs_more() -> None:
    """Of the dense file's bytes, within the few that depend on alignment."""
    for format in ("tflite", "onnx"):
        own = {p.plan: p.bytes for p in points(numbers="int8", format=format)}
        shares = [plan for plan in own if plan.endswith("%")]
        assert shares == sorted(shares, reverse=True) and shares
        for plan in shares:
            assert own[plan] <= (float(plan[:-1]) / 100 + 0.02) * own["dense"]
    assert all(p.cost == ("size" if p.plan.endswith("%") else "") for p in run().frontier)


def test_without_a_budget_there_is_none() -> None:
    assert edgelr.quantize(network(), data(), score_samples=64).frontier == ()


@pytest.mark.parametrize("macs", [10**4, 4 * 10**7, 3 * 10**8, 2 * 10**9, 10**11])
@pytest.mark.parametrize("most", [100, 1000])
def test_work_is_bounded_and_larger_networks_are_left_with_fewer_plans(macs: int, most: int) -> None:
    samples, shares = affordable(macs, 2, most)
    assert SAMPLES_MIN <= samples <= most
    assert shares == SHARES[: len(shares)]
    assert not shares or macs * samples * (2 + len(shares)) <= WORK_MACS
    assert len(affordable(10 * macs, 2, most)[1]) <= len(shares)
    assert affordable(10**4, 2, most) == (most, SHARES) and affordable(10**11, 2, most)[1] == ()
