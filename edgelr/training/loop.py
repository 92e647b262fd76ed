"""The one training loop: what is trained and by which loss are the caller's, the schedule is told here."""
from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import cos, isfinite, pi
from typing import Literal

import torch
from torch import Tensor

from edgelr.errors import EdgelrError
from edgelr.training.batches import Batch, Batches

Groups = Sequence[tuple[float, Sequence[Tensor]]]

TELL_SECONDS = 10.0  # between two words in the middle of an epoch
NORM_MEMORY = 0.98  # of the running mean of gradient norms: some fifty steps


@dataclass(frozen=True)
class Schedule:
    """``epochs`` over the batches; the learning rate rises over the first ``warmup`` (a share of all steps), then falls to 0 as a cosine.

    A gradient longer than ``clip`` times the running mean of their norms is cut to that length: a rule without a unit.
    """

    epochs: int
    optimizer: Literal["adamw", "sgd"] = "adamw"
    warmup: float = 0.05
    clip: float = 4.0
    weight_decay: float = 0.0
    momentum: float = 0.9  # of SGD


@dataclass(frozen=True)
class Progress:
    """Where training is. ``loss`` is the mean since the last word; ``seconds_left`` of the whole training."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    seconds: float
    seconds_left: float

    def __str__(self) -> str:
        where = f"epoch {self.epoch} of {self.epochs}: step {self.step:,} of {self.steps:,}"
        return f"{where}, loss {self.loss:.4g}, {_told(self.seconds_left)} left"


def train(
    groups: Groups,
    loss: Callable[[Batch], Tensor],
    batches: Batches,
    schedule: Schedule,
    tell: Callable[[Progress], None] = lambda progress: None,
    after_step: Callable[[], None] = lambda: None,
) -> None:
    """Train the leaf tensors of ``groups`` (peak learning rate, tensors) in place, to make ``loss`` of a batch small.

    Same groups, batches and seeds give the same bits on the same machine and number of threads. Raises EdgelrError where the loss
    stops being finite.
    """
    steps, step, total, heard = schedule.epochs * len(batches), 0, 0.0, 0
    if not steps:
        return
    optimizer = _optimizer(groups, schedule)
    everything = [p for _, group in groups for p in group]
    typical = 0.0
    begun = told = time.monotonic()
    for epoch in range(schedule.epochs):
        for x, y in batches.epoch(epoch):
            for settings, (peak, _) in zip(optimizer.param_groups, groups, strict=True):
                settings["lr"] = peak * _share(step, steps, schedule.warmup)
            optimizer.zero_grad(set_to_none=True)
            value = loss((x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x, y))
            if not isfinite(float(value.detach())):
                raise _diverged(step, steps)
            value.backward()  # type: ignore[no-untyped-call]
            norm = float(torch.nn.utils.get_total_norm([p.grad for p in everything if p.grad is not None]))
            if not isfinite(norm):
                raise _diverged(step, steps)
            if typical and norm > schedule.clip * typical:
                torch._foreach_mul_([p.grad for p in everything if p.grad is not None], schedule.clip * typical / norm)
                norm = schedule.clip * typical
            typical = NORM_MEMORY * typical + (1 - NORM_MEMORY) * norm if typical else norm
            optimizer.step()
            after_step()
            step, total, heard = step + 1, total + float(value.detach()), heard + 1
            now = time.monotonic()
            if now - told > TELL_SECONDS or step % len(batches) == 0:
                tell(Progress(epoch + 1, schedule.epochs, step, steps, total / heard, now - begun, (now - begun) / step * (steps - step)))
                total, heard, told = 0.0, 0, now


def _optimizer(groups: Groups, schedule: Schedule) -> torch.optim.Optimizer:
    settings: list[Mapping[str, object]] = [{"params": list(group), "lr": peak} for peak, group in groups]
    if schedule.optimizer == "sgd":
        return torch.optim.SGD(settings, momentum=schedule.momentum, weight_decay=schedule.weight_decay)  # type: ignore[arg-type]
    # eps is to prevent a division by 0, not to be a scale: gradients here have any size
    return torch.optim.AdamW(settings, weight_decay=schedule.weight_decay, eps=1e-15)  # type: ignore[arg-type]


def _share(step: int, steps: int, warmup: float) -> float:
    """The share of the peak learning rate at a step counted from 0."""
    rising = max(1, round(warmup * steps))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + cos(pi * (step - rising + 1) / (steps - rising + 1)))


def _diverged(step: int, steps: int) -> EdgelrError:
    return EdgelrError("training diverged", f"the loss or its gradient is not finite at step {step + 1} of {steps}",
                       "check that the samples are finite, or lower the learning rate")


def _told(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
