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


def test_what_training_left_of_a_loss_is_told_and_what_it_mended_is_not() -> None:
    stages = [stage("source", 0.9), stage("factorized", 0.2), stage("trained", 0.6), stage("quantized", 0.6)]
    told = losses(stages)
    assert len(told) == 1 and "90.0% to 60.0%" in told[0] and "--epochs" in told[0]
    assert losses([stage("source", 0.9), stage("factorized", 0.2), stage("trained", 0.85), stage("quantized", 0.85)]) == []
