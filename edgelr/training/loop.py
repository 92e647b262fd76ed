"""The one training loop: what is trained, by which loss and method are the caller's, the schedule is told here."""
from __future__ import annotations

from collections.abc import Callable
from math import isfinite

import torch
from torch import Tensor

from edgelr.errors import EdgelrError
from edgelr.training.batches import Batch, Batches
from edgelr.training.method import PLAIN, Method
from edgelr.training.progress import Progress, Teller
from edgelr.training.schedule import Groups, Schedule, optimizer_of

NORM_MEMORY = 0.98  # of the running mean of gradient norms: some fifty steps


def train(
    groups: Groups,
    loss: Callable[[Batch], Tensor],
    batches: Batches,
    schedule: Schedule,
    tell: Callable[[Progress], None] = lambda progress: None,
    after_step: Callable[[], None] = lambda: None,
    *,
    method: Method = PLAIN,
) -> None:
    """Train the leaf tensors of ``groups`` (peak learning rate, tensors) in place, to make ``loss`` of a batch small.

    ``method`` adds its penalty to the loss and its work between steps: ``start`` before the first, ``after_step`` behind the optimiser's
    and ``after_step`` of the caller, ``finish`` after the last.

    Same groups, batches and seeds give the same bits on the same machine and number of threads. Raises EdgelrError where the loss
    stops being finite.
    """
    steps, step = schedule.epochs * len(batches), 0
    if not steps:
        return
    optimizer = optimizer_of(groups, schedule)
    everything = [p for _, group in groups for p in group]
    typical = 0.0
    method.start(steps, optimizer)
    teller = Teller(tell, schedule.epochs, len(batches))
    for epoch in range(schedule.epochs):
        for x, y in batches.epoch(epoch):
            for settings in optimizer.param_groups:
                settings["lr"] = settings["peak"] * schedule.share(step, steps)
            optimizer.zero_grad(set_to_none=True)
            value = loss((x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x, y))
            penalty = method.penalty()
            total = value if penalty is None else value + penalty
            if not isfinite(float(total.detach())):
                raise _diverged(step, steps)
            total.backward()  # type: ignore[no-untyped-call]
            norm = float(torch.nn.utils.get_total_norm([p.grad for p in everything if p.grad is not None]))
            if not isfinite(norm):
                raise _diverged(step, steps)
            if typical and norm > schedule.clip * typical:
                torch._foreach_mul_([p.grad for p in everything if p.grad is not None], schedule.clip * typical / norm)
                norm = schedule.clip * typical
            typical = NORM_MEMORY * typical + (1 - NORM_MEMORY) * norm if typical else norm
            optimizer.step()
            step += 1
            after_step()
            method.after_step(step)
            teller.hear(step, float(value.detach()), 0.0 if penalty is None else float(penalty.detach()))
    method.finish()


def _diverged(step: int, steps: int) -> EdgelrError:
    return EdgelrError("training diverged", f"the loss or its gradient is not finite at step {step + 1} of {steps}",
                       "check that the samples are finite, or lower the learning rate")
