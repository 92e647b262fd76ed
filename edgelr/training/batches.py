"""Batches to train on: drawn anew each epoch, the same for the same seed."""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgelr.training.augment import Augment

Batch = tuple[Tensor, Tensor | None]


class Batches(Protocol):
    """``len`` is the number of batches an epoch; ``epoch`` gives them: inputs [b, ...] and class numbers [b] or None."""

    def __len__(self) -> int: ...
    def epoch(self, number: int) -> Iterator[Batch]: ...


class Indexed(Protocol):
    """Samples that an array of indices picks from: an array, or what reads them when asked."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: Any) -> Any: ...


@dataclass(frozen=True, eq=False)
class Shuffled:
    """Samples ``x`` [N, ...] with class numbers ``y`` [N] in batches of ``size``, in an order of ``seed`` and the epoch.

    What doesn't fill a batch is left out (it is others each epoch), unless it is all there is. ``augment`` changes a batch of inputs.
    """

    x: Indexed
    y: NDArray[Any] | None
    size: int
    seed: int = 0
    augment: Augment | None = None

    def __len__(self) -> int:
        return max(1, len(self.x) // self.size)

    def epoch(self, number: int) -> Iterator[Batch]:
        order = np.random.default_rng((self.seed, number)).permutation(len(self.x))
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
        for i in range(len(self)):
            chosen = order[i * self.size : (i + 1) * self.size]
            x = torch.from_numpy(np.array(self.x[chosen], np.float32))
            y = None if self.y is None else torch.from_numpy(np.asarray(self.y)[chosen].astype(np.int64))
            yield (x if self.augment is None else self.augment(x, generator)), y
