"""ATen's operations in the graph's words: the table of rules. The rules are in ``aten_*``, one short function each.

A rule gets the site and ATen's own arguments, and gives the value's name; or names, where ATen gives several tensors; or an ``At``, where
the samples' axis moved.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar

from edgelr.graph.batch import FIRST, Batch, NotSupportedError
from edgelr.graph.build import Builder
from edgelr.graph.ops import Shape

__all__ = ["RULES", "At", "NotSupportedError", "Site", "rule"]


@dataclass(frozen=True)
class At:
    """A value whose torch tensor has the samples elsewhere than the inputs' tensors have them."""

    name: str
    batch: Batch


@dataclass(frozen=True)
class Site:
    """Where a rule works: the graph so far, the module's ``path``, torch's shapes and where they hold the batch.

    ``holder`` is the path of what holds the operation's weights. ``shape`` is our shape of the result; ``torch_in`` and ``torch_out``
    are torch's shapes of the first activation and of the result, () where it gives several; ``single`` tells whether only this
    operation reads its inputs.
    """

    b: Builder
    path: str
    holder: str
    kind: str
    torch_in: Shape
    torch_out: Shape
    batch: Batch
    single: bool

    @property
    def name(self) -> str:
        return f"{self.path}/{self.kind}" if self.path else self.kind

    @property
    def owner(self) -> str:
        """A name for an operation with weights: of the module that holds them, or its part (an attention's in_proj)."""
        return self.holder or self.kind

    @property
    def shape(self) -> Shape:
        return self.batch.without(self.torch_out)

    def axis(self, axis: int) -> int:
        """Our axis for one of the first activation's. Raises NotSupportedError for the batch."""
        return self.batch.ours(axis, len(self.torch_in))


Rule = Callable[..., Any]
RULES: dict[str, Rule] = {}


F = TypeVar("F", bound=Rule)


def rule(*names: str, samples_first: bool = False) -> Callable[[F], F]:
    """Register a rule for these operations. ``samples_first``: torch's meaning needs the batch alone on the first axis."""

    def register(function: F) -> F:
        @wraps(function)
        def checked(s: Site, *args: Any, **kwargs: Any) -> Any:
            if samples_first and s.batch != FIRST:
                raise NotSupportedError("its samples are not alone on the first axis")
            return function(s, *args, **kwargs)

        RULES.update(dict.fromkeys(names, checked))
        return function

    return register
