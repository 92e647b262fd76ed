"""Samples and their labels, held or read as they are needed."""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from edgelr.data.given import Array, Given, check_finite, not_real, plain
from edgelr.errors import BadInputError

__all__ = ["Array", "Chosen", "Data", "Samples", "Split"]


class Samples(Protocol):
    """What holds samples: a float32 array, or an object that reads them when asked. ``np.asarray`` of it reads all."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any) -> Any:
        """One sample [...] for an int, [n, ...] for a slice or an array of indices; float32."""


@dataclass(frozen=True, eq=False)
class Split:
    """One part of the data: ``x`` float32 [N, C, H, W] (or [N, ...]), ``y`` int64 class numbers [N], or None where unlabelled.

    ``x`` may also be an object of the user's with ``len`` that gives sample i for an int. ``part`` is the name of the part, for messages.
    Raises BadInputError: no samples, another number of labels, labels that aren't whole numbers from 0, samples that aren't real numbers.
    """

    x: Samples
    y: Array | None = None
    part: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "x", _reals(self.x, self.part))
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

    def name(self, index: int) -> str:
        """How the user knows a sample: by its number in what was given, or by its file."""
        x: Any = self.x
        while isinstance(x, Chosen):
            x, index = x.base, int(x.indices[index])
        return str(x.name(index)) if hasattr(x, "name") else f"sample {index}{self.part and f' of {self.part}'}"

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Float32 inputs [<= size, ...] and int64 labels [<= size], in order. Memory is that of one batch.

        Raises BadInputError, naming the sample: NaN or infinity, or (where samples are read one by one) it can't be read.
        """
        for start in range(0, len(self), size):
            part = slice(start, min(start + size, len(self)))
            x = np.array(self.x[part], np.float32)
            for at in np.flatnonzero(~np.isfinite(x).reshape(len(x), -1).all(1))[:1]:
                check_finite(x[at], self.name(start + int(at)))
            yield torch.from_numpy(x), None if self.y is None else torch.from_numpy(self.y[part].copy())

    def take(self, indices: Array) -> Split:
        """The samples at ``indices``, in that order, read when they are needed."""
        return Split(Chosen(self.x, np.asarray(indices)), None if self.y is None else self.y[indices], self.part)


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

    def __post_init__(self) -> None:
        for name, part in self.parts().items():
            if not isinstance(part, Split):
                raise BadInputError(f"{name} is a {type(part).__name__}, not a Split", "each part of the data is an edgelr.data.Split",
                                    f"Data({name}=Split(x, y)), or Split(x) without labels")
            if not part.part:
                base = Given(part.x.base, name, part.x.shape) if isinstance(part.x, Given) else part.x
                object.__setattr__(self, name, Split(base, part.y, name))

    def parts(self) -> dict[str, Split]:
        """The parts that are there, by name."""
        named = {"train": self.train, "validation": self.validation, "test": self.test, "calibration": self.calibration}
        return {name: part for name, part in named.items() if part is not None}


def _reals(x: Any, part: str) -> Samples:
    if isinstance(x, Tensor | np.ndarray):
        return _array(np.asarray(plain(x)))
    if isinstance(x, Chosen | Given) or hasattr(x, "recipe"):  # ours: read with care already
        return x  # type: ignore[no-any-return]
    if not hasattr(x, "__len__") or not hasattr(x, "__getitem__") or isinstance(x, list | tuple | str | dict):
        raise BadInputError(f"samples can't be read from a {type(x).__name__}", "an array [N, ...] is needed",
                            "stack the samples with numpy.stack")
    return Given(x, part)


def _array(x: Array) -> Array:
    if x.dtype.kind == "O":
        raise _ragged(x)
    if x.dtype.kind != "f":
        raise not_real("samples", x.dtype)
    if x.ndim < 2:
        raise BadInputError(f"samples of shape {x.shape} have no sample axis", "the first axis counts the samples",
                            "give [N, C, H, W] or [N, ...]")
    with np.errstate(over="ignore"):  # what is beyond float32 becomes infinity, and is told with its sample
        return x if x.dtype == np.float32 else x.astype(np.float32)


def _ragged(x: Array) -> BadInputError:
    shapes = [np.shape(sample) for sample in x.reshape(len(x), -1)[:, 0]] if x.ndim and len(x) else []
    odd = next((i for i, shape in enumerate(shapes) if shape != shapes[0]), None)
    if odd is None:
        return not_real("samples", x.dtype)
    return BadInputError("samples have different shapes", f"sample 0 is {shapes[0]}, sample {odd} is {shapes[odd]}",
                         "bring all to one shape: numpy.stack(samples).astype('float32')")


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
