"""A loss that makes a network useless is told first of all."""
from __future__ import annotations

from edgelr.pipeline.telling import losses
from edgelr.report import Stage
from edgelr.vocabulary import Score


def stage(name: str, value: float) -> Stage:
    return Stage(name, 10, 10, Score("accuracy", value, 100, "test"))  # type: ignore[arg-type]


def test_each_stage_that_lost_much_is_told_and_no_other() -> None:
    told = losses([stage("source", 0.9), stage("factorized", 0.7), stage("quantized", 0.69)])
    assert len(told) == 1 and "90.0% to 70.0%" in told[0] and "factorized" in told[0]
    assert losses([stage("source", 0.9), stage("quantized", 0.81)]) == []
    assert "--calibration" in losses([stage("source", 0.9), stage("quantized", 0.5)])[0]
