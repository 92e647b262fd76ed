"""Where a torch tensor holds the samples: attention moves the batch about and merges it with heads or patches; our values have none.

In data order a value of ours is the torch tensor of one sample. So a torch axis holds the batch alone (we have no such axis), or
``before`` things of the sample outside it and some inside (we have the axis without the batch).
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

SIZE = 2  # captured with two samples, so that no shape rule can mistake the batch for an axis of length 1


class NotSupportedError(Exception):
    """Why this use of an operation has no form here; ``capture`` adds where."""


@dataclass(frozen=True)
class Batch:
    """The torch ``axis`` that holds the samples; ``merged`` with more of the sample, of which ``before`` places lie outside them."""

    axis: int = 0
    before: int = 1
    merged: bool = False

    def rank(self, ours: int) -> int:
        """Axes of the torch tensor for a value of ours with so many."""
        return ours if self.merged else ours + 1

    def ours(self, axis: int, rank: int) -> int:
        """Our axis for an axis of a torch tensor of ``rank``. Raises NotSupportedError for the samples'."""
        axis %= rank
        if axis == self.axis:
            raise NotSupportedError("it works along the axis of the batch, which mixes samples")
        return axis if self.merged or axis < self.axis else axis - 1

    def without(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Our shape for a torch shape. Raises NotSupportedError where the samples aren't where they should be."""
        if len(shape) <= self.axis or shape[self.axis] % (self.before * SIZE) or (not self.merged and shape[self.axis] != SIZE):
            raise NotSupportedError(f"it mixes samples of a batch: shape {tuple(shape)} for a batch of {SIZE}")
        own = (shape[self.axis] // SIZE,) if self.merged else ()
        return (*shape[: self.axis], *own, *shape[self.axis + 1 :])

    def reshaped(self, shape: Sequence[int], to: Sequence[int]) -> Batch:
        """Where the samples are after a reshape between torch shapes, which keeps the data's order."""
        outside = prod(shape[: self.axis]) * self.before
        for axis, length in enumerate(to):
            before, rest = divmod(outside, prod(to[:axis]))
            if before and not rest and length % (before * SIZE) == 0:
                return Batch(axis, before, length != SIZE)
        raise NotSupportedError(f"it mixes samples of a batch: shape {tuple(to)} for a batch of {SIZE}")

    def permuted(self, order: Sequence[int]) -> Batch:
        """After a permutation of the torch axes."""
        return Batch(list(order).index(self.axis), self.before, self.merged)

    def ours_permuted(self, order: Sequence[int]) -> tuple[int, ...]:
        """The same permutation on our axes."""
        rank = len(order)
        return tuple(order) if self.merged else tuple(self.ours(a, rank) for a in order if a % rank != self.axis)

    def constant(self, value: Tensor, rank: int) -> Tensor:
        """A constant that meets a torch tensor of ``rank`` axes, in our axes. Raises NotSupportedError where it differs by sample."""
        value = value.reshape((1,) * (rank - value.dim()) + tuple(value.shape))
        length = value.shape[self.axis]
        if length > 1:
            if length % (self.before * SIZE):
                raise NotSupportedError("a constant that varies along the axis of the batch")
            parts = value.reshape(*value.shape[: self.axis], self.before, SIZE, -1, *value.shape[self.axis + 1 :])
            one = parts.select(self.axis + 1, 0)
            if not torch.equal(parts, one.unsqueeze(self.axis + 1).expand_as(parts)):
                raise NotSupportedError("a constant that differs by sample")
            value = one.flatten(self.axis, self.axis + 1)
        return value if self.merged else value.squeeze(self.axis)


FIRST = Batch()
