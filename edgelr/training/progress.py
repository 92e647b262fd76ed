"""Words about a training while it runs, and how long it still takes."""
from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

TELL_SECONDS = 10.0  # between two words in the middle of an epoch
PACE_SECONDS = 60.0  # the shortest stretch that tells the pace, once there was as much


@dataclass(frozen=True)
class Progress:
    """Where training is. ``loss`` and ``penalty`` are means since the last word, the penalty not part of the loss.

    ``seconds`` since this run of it began; ``seconds_left`` of the whole training, at the pace of the run's later half.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    seconds: float
    seconds_left: float
    penalty: float = 0.0
    note: str = ""  # what went wrong beside the training

    def __str__(self) -> str:
        where = f"epoch {self.epoch} of {self.epochs}: step {self.step:,} of {self.steps:,}"
        penalty = f" + {self.penalty:.4g}" if self.penalty else ""
        return f"{where}, loss {self.loss:.4g}{penalty}, {_told(self.seconds_left)} left{self.note and f' ({self.note})'}"


class Teller:
    """Hears each step and tells ``Progress`` at the end of each epoch and every ``TELL_SECONDS``."""

    def __init__(self, tell: Callable[[Progress], None], epochs: int, epoch_steps: int, step: int = 0) -> None:
        self._tell, self._epochs, self._epoch_steps = tell, epochs, epoch_steps
        self._begun = self._told = time.monotonic()
        self._marks = [(self._begun, step)]
        self._loss, self._penalty, self._heard = 0.0, 0.0, 0

    def hear(self, step: int, loss: float, penalty: float = 0.0, note: str = "") -> None:
        """A step, counted from 1, is done."""
        self._loss, self._penalty, self._heard = self._loss + loss, self._penalty + penalty, self._heard + 1
        now = time.monotonic()
        if now - self._told <= TELL_SECONDS and step % self._epoch_steps:
            return
        steps, n = self._epochs * self._epoch_steps, self._heard
        left = self._pace(now, step) * (steps - step)
        epoch = (step - 1) // self._epoch_steps + 1
        self._tell(Progress(epoch, self._epochs, step, steps, self._loss / n, now - self._begun, left, self._penalty / n, note))
        self._loss, self._penalty, self._heard, self._told = 0.0, 0.0, 0, now
        self._marks.append((now, step))

    def _pace(self, now: float, step: int) -> float:
        """Seconds a step. Of the later half of the run: what the first steps cost once is forgotten, what comes every epoch is not."""
        since = now - max(PACE_SECONDS, (now - self._begun) / 2)
        while len(self._marks) > 1 and self._marks[1][0] <= since:
            del self._marks[0]
        then, before = self._marks[0]
        return (now - then) / (step - before)


def _told(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
