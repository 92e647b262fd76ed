"""The matrices of a recurrent layer's gates, dense or factorised, and what the files' spellers ask of such a layer."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import torch
from torch import Tensor

Form = Literal["fused", "loop"]
LOOP_ORDER = {"LSTM": (0, 1, 3, 2), "GRU": (0, 1, 2)}  # of torch's gates in a loop over the steps: those that a sigmoid bends lie together


@dataclass(frozen=True, eq=False)
class GateMatrix:
    """The matrices of all gates, [gates * n, k], one above the other in torch's order: ``left`` alone, or ``left`` @ ``right``.

    ``left`` is one matrix [gates * n, k or r], or one [n, r_g] for each gate; then ``right`` [r_1 + r_2 + ..., k] holds each gate's
    factor, one above the other (a block diagonal left factor).
    """

    left: tuple[Tensor, ...]
    right: Tensor | None = None

    @property
    def inputs(self) -> int:
        return (self.left[0] if self.right is None else self.right).shape[1]

    @property
    def rows(self) -> int:
        return sum(m.shape[0] for m in self.left)

    def parts(self) -> tuple[Tensor, ...]:
        return self.left if self.right is None else (*self.left, self.right)

    def dense(self) -> Tensor:
        """The product."""
        if self.right is None:
            return torch.cat(self.left)
        rights = torch.split(self.right, [m.shape[1] for m in self.left])
        return torch.cat([left @ right for left, right in zip(self.left, rights, strict=True)])

    def reordered(self, order: Sequence[int]) -> GateMatrix:
        """The gates in another order: gate i is gate order[i] of now."""
        if len(self.left) == 1:
            blocks = self.left[0].chunk(len(order))
            return replace(self, left=(torch.cat([blocks[g] for g in order]),))
        assert self.right is not None
        rights = torch.split(self.right, [m.shape[1] for m in self.left])
        return GateMatrix(tuple(self.left[g] for g in order), torch.cat([rights[g] for g in order]))

    def mapped(self, change: Callable[[Tensor], Tensor]) -> GateMatrix:
        return GateMatrix(tuple(change(m) for m in self.left), None if self.right is None else change(self.right))


class RecurrentLayer(Protocol):
    """``ops.recurrent.Recurrent``, as far as it is written into files."""

    @property
    def kind(self) -> str: ...
    @property
    def gates(self) -> int: ...
    @property
    def ih(self) -> GateMatrix: ...
    @property
    def hh(self) -> GateMatrix: ...
    @property
    def bias_ih(self) -> Tensor: ...
    @property
    def bias_hh(self) -> Tensor: ...
    @property
    def projection(self) -> Tensor | None: ...
    @property
    def reverse(self) -> bool: ...
    @property
    def form(self) -> Form: ...
    @property
    def last(self) -> bool: ...
    @property
    def hidden(self) -> int: ...
    @property
    def outputs(self) -> int: ...
    @property
    def weight_max(self) -> int: ...
