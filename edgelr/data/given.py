"""A user's own holder of samples, read with care: whatever goes wrong names the sample."""
from __future__ import annotations

import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from edgelr.errors import BadInputError, EdgelrError

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, eq=False)
class Given:
    """``base`` has ``len`` and gives sample i for an int; for a slice or an array of indices it may give several at once.

    ``part`` is the name of the part of the data, for messages. Reading raises BadInputError with the sample's index: its own code fails,
    another shape than the first sample's, no real numbers, NaN or infinity.
    """

    base: Any
    part: str = ""
    shape: list[tuple[int, ...]] = field(default_factory=list)  # that of sample 0, once it was read

    def __len__(self) -> int:
        return len(self.base)

    def name(self, index: int) -> str:
        return f"sample {index}{self.part and f' of {self.part}'}"

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, int | np.integer):
            return self._one(int(index))
        indices = np.arange(len(self))[index]
        try:
            block = np.asarray(self.base[index])
        except Exception:  # it may take whole numbers alone; and what is wrong with a sample is found one by one
            block = np.empty(0)
        if block.dtype.kind == "f" and block.shape == (len(indices), *self._first()):
            with np.errstate(over="ignore"):
                block = block.astype(np.float32, copy=False)
            if np.isfinite(block).all():
                return block
        return np.stack([self._one(int(i)) for i in indices]) if len(indices) else np.empty((0, *self._first()), np.float32)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.asarray(self[:], dtype)

    def _first(self) -> tuple[int, ...]:
        if not self.shape:
            self._one(0)
        return self.shape[0]

    def _one(self, index: int) -> Array:
        try:
            sample = self.base[index]
        except EdgelrError as error:
            raise BadInputError(f"{self.name(index)}: {error.what}", error.why, error.try_) from error
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            raise BadInputError(f"{self.name(index)} can't be read",
                                f"{type(error).__name__}: {str(error)[:200]} ({Path(frame.filename).name}, line {frame.lineno})",
                                "mend the code that reads it, or drop that sample") from error
        array = plain(sample)
        if array is None:
            raise BadInputError(f"{self.name(index)} is a {type(sample).__name__}", "an array of real numbers is needed, without its label",
                                "give inputs as the first and labels as the second argument: Split(x, y)")
        if array.dtype.kind != "f":
            raise not_real(self.name(index), array.dtype, "give samples as the network was trained on, normalised and float32")
        if not self.shape and index != 0:
            self._first()
        if not self.shape:
            self.shape.append(array.shape)
        if array.shape != self.shape[0]:
            raise BadInputError(f"{self.name(index)} has another shape",
                                f"it is {_times(array.shape)}, {self.name(0)} is {_times(self.shape[0])}", "bring all samples to one shape")
        with np.errstate(over="ignore"):
            array = array.astype(np.float32, copy=False)
        check_finite(array, self.name(index))
        return array


def plain(value: Any) -> Array | None:
    """A tensor or an array as an array; None for anything else."""
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        return np.asarray((value.float() if value.is_floating_point() else value).numpy())
    return np.asarray(value) if isinstance(value, np.ndarray | np.generic) else None


def check_finite(sample: Array, name: str, after: str = "read as float32") -> None:
    """Raises BadInputError, which ``name`` begins, where a float32 sample holds NaN or infinity. ``after``: what was done to it."""
    if np.isfinite(sample).all():
        return
    nan, infinite = int(np.isnan(sample).sum()), int(np.isinf(sample).sum())
    kind = "NaN" if not infinite else "infinity" if not nan else "NaN and infinity"
    raise BadInputError(f"{name} holds {kind}", f"{nan + infinite:,} of its {sample.size:,} values, {after}",
                        "mend or drop that sample")


def not_real(name: str, dtype: np.dtype[Any], whole: str = "") -> BadInputError:
    """The error for samples that aren't real numbers; ``name`` is "samples" or one sample's, ``whole`` what to try with whole numbers."""
    verb = "are" if name == "samples" else "is"
    why, try_ = {
        "i": ("they are not normalised yet",
              whole or "name the recipe that the network was trained with, as in --recipe cifar10 (raw: as they are)"),
        "b": ("true and false are no inputs of a network", "store numbers: array.astype('float32')"),
        "c": ("edgelr's networks take real numbers", "give real and imaginary part as channels, or the magnitude"),
        "O": ("that is how numpy holds samples of different shapes", "bring all to one shape: numpy.stack(samples).astype('float32')"),
    }.get("i" if dtype.kind == "u" else dtype.kind, ("a network takes numbers", "store numbers: array.astype('float32')"))
    kind = {"O": "Python objects", "U": "text", "S": "text"}.get(dtype.kind, str(dtype))
    return BadInputError(f"{name} {verb} {kind}, not real numbers", why, try_)


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "one number"
