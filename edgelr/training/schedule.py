"""How long, how fast and by which optimiser: the learning rate's course over a training."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import cos, pi
from typing import Literal

import torch
from torch import Tensor

Groups = Sequence[tuple[float, Sequence[Tensor]]]  # peak learning rate, tensors

# of "one-cycle": where its top is, and how far below it begins and ends (Smith and Topin, arXiv 1708.07120; numbers of torch's OneCycleLR)
CYCLE_RISE, CYCLE_START, CYCLE_END = 0.3, 1 / 25, 1 / 250_000


@dataclass(frozen=True)
class Schedule:
    """``epochs`` over the batches; the learning rate rises over the first ``warmup`` (a share of all steps), then takes its ``shape``.

    "cosine" falls to 0; "step" is multiplied by ``factor`` at each of ``milestones`` (shares of all steps); "constant" stays.
    "one-cycle" has a rise of its own: linear to the peak over the first 30 %, then a cosine to almost nothing; ``warmup`` is not used.
    A gradient longer than ``clip`` times the running mean of their norms is cut to that length: a rule without a unit.
    ``decay`` "matrices" spares tensors of one axis from ``weight_decay``: biases, batch norm's gain and shift.
    """

    epochs: int
    optimizer: Literal["adamw", "sgd"] = "adamw"
    warmup: float = 0.05
    clip: float = 4.0
    weight_decay: float = 0.0
    momentum: float = 0.9  # of SGD
    nesterov: bool = False  # of SGD with momentum
    decay: Literal["all", "matrices"] = "all"
    shape: Literal["cosine", "step", "one-cycle", "constant"] = "cosine"
    milestones: tuple[float, ...] = (0.5, 0.75)
    factor: float = 0.1

    def share(self, step: int, steps: int) -> float:
        """The share of the peak learning rate at a step, counted from 0, of ``steps``."""
        rising = max(1, round((CYCLE_RISE if self.shape == "one-cycle" else self.warmup) * steps))
        if step < rising:
            risen = (step + 1) / rising
            return CYCLE_START + (1 - CYCLE_START) * risen if self.shape == "one-cycle" else risen
        if self.shape == "constant":
            return 1.0
        if self.shape == "step":
            return self.factor ** sum(step >= round(m * steps) for m in self.milestones)
        falling = 0.5 * (1 + cos(pi * (step - rising + 1) / (steps - rising + 1)))
        return CYCLE_END + (1 - CYCLE_END) * falling if self.shape == "one-cycle" else falling


def optimizer_of(groups: Groups, schedule: Schedule) -> torch.optim.Optimizer:
    """The optimiser of ``groups``; each of its groups has its "peak" learning rate beside the current one."""
    settings: list[Mapping[str, object]] = []
    for peak, group in groups:
        spared = [p for p in group if p.dim() < 2] if schedule.decay == "matrices" else []
        decayed = [p for p in group if all(p is not s for s in spared)]
        settings += [{"params": decayed, "lr": peak, "peak": peak, "weight_decay": schedule.weight_decay}] if decayed else []
        settings += [{"params": spared, "lr": peak, "peak": peak, "weight_decay": 0.0}] if spared else []
    if schedule.optimizer == "sgd":
        nesterov = schedule.nesterov and schedule.momentum > 0
        return torch.optim.SGD(settings, momentum=schedule.momentum, nesterov=nesterov)  # type: ignore[arg-type]
    # eps is to prevent a division by 0, not to be a scale: gradients here have any size
    return torch.optim.AdamW(settings, eps=1e-15)  # type: ignore[arg-type]
