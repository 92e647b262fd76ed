"""The learning rate's course, and what the optimiser is given."""
from __future__ import annotations

from itertools import pairwise
from typing import Literal

import pytest
import torch
from torch import nn

from edgelr.training import Schedule
from edgelr.training.schedule import optimizer_of

Shape = Literal["cosine", "step", "one-cycle", "constant"]


def course(schedule: Schedule, steps: int = 100) -> list[float]:
    return [schedule.share(step, steps) for step in range(steps)]


@pytest.mark.parametrize("shape", ["cosine", "step", "constant"])
def test_the_rate_rises_to_its_peak_over_the_warm_up(shape: Shape) -> None:
    assert course(Schedule(1, shape=shape, warmup=0.1))[:11] == pytest.approx([0.1 * k for k in range(1, 11)] + [1.0], abs=1e-3)


def test_steps_multiply_the_rate_at_each_milestone() -> None:
    found = course(Schedule(1, shape="step", warmup=0.0, milestones=(0.5, 0.8), factor=0.1))
    assert found == pytest.approx([1.0] * 50 + [0.1] * 30 + [0.01] * 20)


def test_a_constant_rate_stays() -> None:
    assert set(course(Schedule(1, shape="constant", warmup=0.02))[2:]) == {1.0}


def test_one_cycle_rises_for_three_tenths_and_falls_to_almost_nothing() -> None:
    found = course(Schedule(1, shape="one-cycle"))
    assert 0.04 < found[0] < 0.08 and found[29] == 1.0 and 0 < found[-1] < 2e-3
    assert all(a < b for a, b in pairwise(found[:30])) and all(a > b for a, b in pairwise(found[29:]))


@pytest.mark.parametrize("shape", ["cosine", "step", "one-cycle", "constant"])
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_training_of_a_few_steps_has_rates_too(shape: Shape, steps: int) -> None:
    assert all(0 < share <= 1 for share in course(Schedule(1, shape=shape), steps))


def test_decay_can_spare_biases_and_batch_norm() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    held = list(net.parameters())

    def decayed(schedule: Schedule) -> list[bool]:
        by = {id(p): s["weight_decay"] for s in optimizer_of([(0.1, held)], schedule).param_groups for p in s["params"]}
        return [by[id(p)] > 0 for p in held]

    assert decayed(Schedule(1, "sgd", weight_decay=1e-4, decay="matrices")) == [True, False, False, False, True, False]
    assert all(decayed(Schedule(1, "sgd", weight_decay=1e-4)))


def test_nesterov_looks_ahead() -> None:
    def moved(nesterov: bool) -> float:
        weight = torch.zeros((), requires_grad=True)
        optimizer = optimizer_of([(1.0, [weight])], Schedule(1, "sgd", momentum=0.5, nesterov=nesterov))
        for _ in range(2):
            weight.grad = torch.tensor(-1.0)
            optimizer.step()
        return float(weight.detach())

    assert (moved(False), moved(True)) == (2.5, 3.25)
