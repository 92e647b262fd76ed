"""How many epochs a time allows, by steps that are really taken."""
from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from edgelr.training.batches import Batch, Batches

SHARE = 0.02  # of the time, spent on measuring it
BOUNDS = (1.0, 20.0)  # seconds of measuring each trial
LEAST_STEPS = 4
MARGIN = 0.85  # batch norm's statistics, scores, and a machine that slows down come on top


@dataclass(frozen=True, eq=False)
class _Timed:
    """Batches that note when each is taken, until ``seconds`` have passed."""

    batches: Batches
    seconds: float
    taken: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(self, number: int) -> Iterator[Batch]:
        for batch in self.batches.epoch(number):
            self.taken.append(time.monotonic())
            if len(self.taken) > LEAST_STEPS + 1 and self.taken[-1] - self.taken[0] > self.seconds:
                return
            yield batch
        self.taken.append(time.monotonic())


def step_seconds(trial: Callable[[Batches], None], batches: Batches, seconds: float) -> float:
    """Seconds a training step takes, with reading its batch: ``trial`` trains a copy for one epoch of the batches that it is given.

    They end after ``seconds``, or some steps more. The first step, which sets up the kernels, doesn't count; the mean does, not the
    median, so that what a method does every few steps is in it.
    """
    timed = _Timed(batches, seconds)
    trial(timed)
    first = 1 if len(timed.taken) > 2 else 0
    return (timed.taken[-1] - timed.taken[first]) / (len(timed.taken) - 1 - first)


def epochs_within(seconds: float, trials: Sequence[Callable[[Batches], None]], batches: Batches) -> tuple[int, float]:
    """As many epochs as fit into ``seconds``, measuring included (0 where not one does), and the seconds that one takes.

    ``trials`` as for ``step_seconds``: of several the slowest counts.
    """
    begun = time.monotonic()
    each = min(BOUNDS[1], max(BOUNDS[0], SHARE * seconds))
    epoch_s = max(step_seconds(trial, batches, each) for trial in trials) * len(batches)
    left = seconds - (time.monotonic() - begun)
    return max(0, int(MARGIN * left / epoch_s)), epoch_s
