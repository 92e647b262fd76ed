"""How many epochs fit into a time."""
from __future__ import annotations

import time

import numpy as np
import pytest

from edgelr.training import Batches, Shuffled, epochs_within, step_seconds
from edgelr.training.timing import LEAST_STEPS


def numbered(n: int) -> Shuffled:
    return Shuffled(np.arange(n, dtype=np.float32)[:, None], None, 1)


class Machine:
    """A clock that stands still but for ``first`` seconds in the first step, ``step`` in each other, and ``tenth`` more in every tenth."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, step: float, first: float = 0.0, tenth: float = 0.0) -> None:
        self.now, self.steps, self.costs = 0.0, 0, (step, first, tenth)
        monkeypatch.setattr("time.monotonic", lambda: self.now)

    def train(self, batches: Batches) -> None:
        step, first, tenth = self.costs
        for i, _ in enumerate(batches.epoch(0)):
            self.now += (first if i == 0 else step) + (tenth if i % 10 == 9 else 0)
            self.steps += 1


def test_the_first_step_does_not_count_and_rare_work_does(monkeypatch: pytest.MonkeyPatch) -> None:
    assert step_seconds(Machine(monkeypatch, 0.1, first=5.0).train, numbered(1000), 20.0) == pytest.approx(0.1)
    assert step_seconds(Machine(monkeypatch, 0.1, tenth=1.0).train, numbered(1000), 20.0) == pytest.approx(0.2, rel=0.05)


def test_measuring_ends_in_time_and_has_some_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Machine(monkeypatch, 60.0)
    step_seconds(slow.train, numbered(1000), 1.0)
    assert slow.steps == LEAST_STEPS + 1
    quick = Machine(monkeypatch, 0.01)
    step_seconds(quick.train, numbered(1000), 1.0)
    assert quick.now < 1.1


@pytest.mark.parametrize("samples", [1, 2, 3])
def test_a_few_batches_are_enough(samples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert step_seconds(Machine(monkeypatch, 0.5, first=0.5).train, numbered(samples), 1.0) == pytest.approx(0.5)


def test_so_many_epochs_fit_with_the_measuring_and_a_margin(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, 0.1)
    epochs, epoch_s = epochs_within(1000.0, [machine.train], numbered(100))
    assert 80 <= epochs < 100 and machine.now + epochs * 10 <= 1000 and epoch_s == pytest.approx(10)
    assert epochs_within(8.0, [Machine(monkeypatch, 0.1).train], numbered(100))[0] == 0


def test_the_slowest_part_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, 0.1)

    def slower(batches: Batches) -> None:
        for _ in batches.epoch(0):
            machine.now += 0.4

    assert epochs_within(1000.0, [machine.train, slower], numbered(100))[1] == pytest.approx(40)


def test_it_is_the_clock_of_the_machine_that_counts() -> None:
    def train(batches: Batches) -> None:
        for _ in batches.epoch(0):
            time.sleep(0.01)

    assert 0.01 <= step_seconds(train, numbered(20), 5.0) < 0.1
