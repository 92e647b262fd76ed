"""The weights' learning rate, found by trying: networks differ by more than a factor of 10 in what they bear."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

import torch
from torch import Tensor

from edgelr.errors import EdgelrError
from edgelr.training.batches import Batch, Batches
from edgelr.training.loop import train
from edgelr.training.schedule import Groups, Schedule

Trial = tuple[Callable[[Batch], Tensor], Groups, Callable[[], None]]  # what ``train`` takes: loss, groups, what to do after each step

# Training losses and held-out scores of short trials, one seed each. ResNet-20 at 25 % of its parameters, 100 steps: 49 % right at 0.1,
# 55 % at 0.3, 57 % at 1; at 50 %, 60 steps: 81 % at 0.3, 82 % at 1; dense, 60 steps: the same at both. EfficientNet-Lite0 at half its
# parameters, 16 steps from a loss of 3.1: 2.6 at 0.1, 4.9 at 0.3, 5.2 at 1.
RATES = (0.1, 0.3, 1.0)
LOWEST_RATE = 0.03
PROBE_STEPS = 16
PROBE_SHARE = 0.1  # of training's steps that one rate's trial takes at most
LEAST_STEPS = 4  # a trial of fewer tells nothing


@dataclass(frozen=True)
class Some:
    """The first ``count`` batches of one epoch of others."""

    batches: Batches
    number: int
    count: int

    def __len__(self) -> int:
        return self.count

    def epoch(self, number: int) -> Iterator[Batch]:
        yield from islice(self.batches.epoch(self.number), self.count)


def probed_rate(
    start: Callable[[float], Trial],
    batches: Batches,
    schedule: Schedule,
) -> float:
    """The rate after whose short training the loss on batches held back from it is lowest; rates rise until it is not lower any more.

    ``start`` gives a trial of a rate, of the network as it is before training.
    Where there are too few batches for a trial it is ``RATES[0]``. Trials are as deterministic as training is.
    """
    steps = min(PROBE_STEPS, int(PROBE_SHARE * schedule.epochs * len(batches)), len(batches) * 3 // 4)
    if steps < LEAST_STEPS:
        return RATES[0]
    held = list(islice(batches.epoch(schedule.epochs), steps, steps + max(1, min(steps // 4, len(batches) - steps))))

    def after(rate: float, taken: int) -> float:
        loss, groups, after_step = start(rate)
        try:
            train(groups, loss, Some(batches, schedule.epochs, taken), replace(schedule, epochs=min(1, taken)), after_step=after_step)
        except EdgelrError:  # diverged
            return float("inf")
        with torch.no_grad():
            return sum(float(loss(b)) for b in held)

    best, lowest = LOWEST_RATE, after(LOWEST_RATE, 0)
    for rate in RATES:
        reached = after(rate, steps)
        if not reached < lowest:
            break
        best, lowest = rate, reached
    return best
