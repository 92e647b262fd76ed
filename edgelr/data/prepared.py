"""Samples that become model inputs when they are read: one at a time, so memory doesn't grow with their number."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgelr.data.given import check_finite
from edgelr.data.recipe import Recipe, apply
from edgelr.data.split import Array
from edgelr.errors import BadInputError


@dataclass(frozen=True, eq=False)
class Prepared:
    """``read(i)`` gives sample i as it is stored; the recipe makes it an input. ``name(i)`` is how the user knows it."""

    read: Callable[[int], Array]
    name: Callable[[int], str]
    count: int
    recipe: Recipe
    shape: list[tuple[int, ...]] = field(default_factory=list)  # that of the first sample read: all others must have it

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, int | np.integer):
            return self._one(int(index))
        return np.stack([self._one(int(i)) for i in np.arange(self.count)[index]])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.asarray(self[:], dtype)

    def _one(self, index: int) -> Array:
        try:
            sample = apply(self.recipe, self.read(index))
        except BadInputError as error:
            raise BadInputError(f"{self.name(index)}: {error.what}", error.why, error.try_) from error
        check_finite(sample, self.name(index), f"after the recipe {self.recipe.name}")
        if not self.shape:
            self.shape.append(sample.shape)
        if sample.shape != self.shape[0]:
            raise BadInputError(f"{self.name(index)} has another shape", f"it gives {sample.shape}, the first gave {self.shape[0]}",
                                f"add steps to the recipe {self.recipe.name} that bring all to one shape: resize and crop, or length")
        return sample
