"""What training in float works on: its samples, in batches, and the loss."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
from torch import Tensor, nn

from edgelr.data import Data, Split
from edgelr.errors import UsageError
from edgelr.pipeline.settings import Settings
from edgelr.pipeline.source import Source
from edgelr.pipeline.training.recipes import LossOf
from edgelr.training import Batch, Shuffled, augmentation, forward_of, outputs_of, supervised

BATCH = 64
BATCHES_MIN = 16  # of an epoch: a few samples are taken in smaller batches
TRAIN_MACS = 2e14  # what training spends unasked: some two hours at the 30 GMAC/s of one x86-64 core in float32
BATCH_MIN = 2  # batch norm has no statistics of one sample


def check_recipe(settings: Settings, data: Data) -> None:
    """Raises UsageError where there is nothing to train on; ``auto`` may do without."""
    if settings.train in ("none", "auto"):
        return
    if data.train is None:
        raise UsageError(
            "there is nothing to train on", f"--train {settings.train} needs a train part", "add x_train to the data, or leave --train out"
        )
    if not trainable(data):
        raise UsageError("there is nothing to train on", f"the train part has {len(data.train)} samples", "give more, or leave --train out")


def trainable(data: Data) -> bool:
    """Whether there is a train part to speak of; there is a validation part then (``edgelr.data`` takes it out of train)."""
    return data.train is not None and data.validation is not None and len(data.train) >= BATCH_MIN


def some(split: Split, most: int, seed: int) -> Split:
    """At most so many of the samples, drawn by the seed, in their order."""
    if len(split) <= most:
        return split
    return split.take(np.sort(np.random.default_rng(seed).choice(len(split), most, replace=False)))


def batch_size(samples: int) -> int:
    return min(samples, max(BATCH_MIN, min(BATCH, samples // BATCHES_MIN)))


def batches_of(settings: Settings, train: Split) -> Shuffled:
    augment = augmentation(train.sample_shape) if settings.augment == "crop-flip" else None
    return Shuffled(train.x, train.y, batch_size(len(train)), settings.seed, augment)


def suitable_epochs(samples: int, macs: int | None, runs: int, bounds: tuple[int, int]) -> int:
    """As many epochs as ``TRAIN_MACS`` pay for, a training step taking the time of so many ``runs``; within ``bounds``."""
    return max(bounds[0], min(bounds[1], int(TRAIN_MACS / (runs * samples * max(1, macs or 1)))))


def loss_of(settings: Settings, source: Source) -> LossOf:
    """The loss of a network: cross entropy to labels and distillation from the source, alone where there are no labels."""
    teacher = forward_of(copy.deepcopy(source.folded).eval())
    outputs = outputs_of(source.graph)

    def of(net: nn.Module) -> Callable[[Batch], Tensor]:
        return supervised(forward_of(net), teacher, outputs, weight=settings.distill)

    return of
