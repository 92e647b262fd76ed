"""Samples and their labels, held or read as they are needed."""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from edgelr.errors import BadInputError

Array = np.ndarray[Any, np.dtype[Any]]


class Samples(Protocol):
    """What holds samples: a float32 array, or an object that reads them when asked. ``np.asarray`` of it reads all."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any) -> Any:
        """One sample [...] for an int, [n, ...] for a slice or an array of indices; float32."""


@dataclass(frozen=True, eq=False)
class Split:
    """One part of the data: ``x`` float32 [N, C, H, W] (or [N, ...]), ``y`` int64 class numbers [N], or None where unlabelled.

    Raises BadInputError: no samples, another number of labels, labels that aren't whole numbers from 0, samples that aren't real numbers.
    """

    x: Samples
    y: Array | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "x", _reals(self.x))
        if len(self.x) == 0:
            raise BadInputError("there are no samples", "the set is empty", "give at least one; 64 or more for calibration")
        if self.y is not None:
            object.__setattr__(self, "y", _labels(self.y, len(self.x)))

    def __len__(self) -> int:
        return len(self.x)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """The shape of one sample, without the batch."""
        return tuple(self.x[0].shape)

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Float32 inputs [<= size, ...] and int64 labels [<= size], in order. Memory is that of one batch."""
        for start in range(0, len(self), size):
            part = slice(start, min(start + size, len(self)))
            x = torch.from_numpy(np.array(self.x[part], np.float32))
            yield x, None if self.y is None else torch.from_numpy(self.y[part].copy())

    def take(self, indices: Array) -> Split:
        """The samples at ``indices``, in that order, read when they are needed."""
        return Split(Chosen(self.x, np.asarray(indices)), None if self.y is None else self.y[indices])


@dataclass(frozen=True, eq=False)
class Chosen:
    """Some of the samples of another holder."""

    base: Samples
    indices: Array

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: Any) -> Any:
        return self.base[self.indices[index]]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.asarray(self[:], dtype)


@dataclass(frozen=True, eq=False)
class Data:
    """The parts of a data set; any may be None. ``classes``: the names of the classes, where they have names.

    ``validation`` is what choices are scored on, ``test`` is only ever reported, ``calibration`` gives ranges and moments.
    """

    train: Split | None = None
    validation: Split | None = None
    test: Split | None = None
    calibration: Split | None = None
    classes: tuple[str, ...] = ()
    name: str = ""

    def parts(self) -> dict[str, Split]:
        """The parts that are there, by name."""
        named = {"train": self.train, "validation": self.validation, "test": self.test, "calibration": self.calibration}
        return {name: part for name, part in named.items() if part is not None}


def _reals(x: Any) -> Samples:
    if isinstance(x, Tensor):
        x = x.detach().cpu().numpy()
    if not isinstance(x, np.ndarray):
        if not hasattr(x, "__len__") or not hasattr(x, "__getitem__") or isinstance(x, list | tuple | str | dict):
            raise BadInputError(f"samples can't be read from a {type(x).__name__}", "an array [N, ...] is needed",
                                "stack the samples with numpy.stack")
        return x  # type: ignore[no-any-return]  # read by its own class
    if x.ndim < 2:
        raise BadInputError(f"samples of shape {x.shape} have no sample axis", "the first axis counts the samples",
                            "give [N, C, H, W] or [N, ...]")
    if x.dtype.kind != "f":
        raise BadInputError(f"samples are {x.dtype}, not real numbers", "they are not normalised yet",
                            "name the recipe that the network was trained with, as in --recipe cifar10 (raw: as they are)")
    return x if x.dtype == np.float32 else x.astype(np.float32)


def _labels(y: Any, samples: int) -> Array:
    y = y.detach().cpu().numpy() if isinstance(y, Tensor) else np.asarray(y)
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    if y.ndim != 1 or y.dtype.kind not in "iu":
        raise BadInputError(f"labels are {y.dtype} of shape {y.shape}", f"expected whole numbers of shape ({samples},)",
                            "give class numbers from 0; of one-hot rows, take argmax(axis=1)")
    if len(y) != samples:
        raise BadInputError(f"{len(y)} labels for {samples} samples", "each sample needs one", "check how the set was cut")
    if y.min() < 0:
        raise BadInputError(f"label {int(y.min())} of sample {int(y.argmin())} is out of range", "classes are numbered from 0",
                            "leave unlabelled samples out, or give no labels at all")
    return np.asarray(y, np.int64)
