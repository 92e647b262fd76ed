"""Compression-friendly training by the modified stable rank (Eo, Kang & Rhee, arXiv 2111.15179)."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from edgelr.training.method import Aim

Exponent = Literal[1, 2]
MEAN_SHARE = 0.5  # of the peak learning rate, over a cosine


@dataclass(frozen=True)
class BsrSettings:
    """``weight`` of the mean modified stable rank beside the task loss (None: ``suited_weight`` by ``reach``); ``exponent`` of its singular
    values.

    The paper's text could not be had, and both exponents fit what is known of it: which is better is for a measurement to say.
    Singular vectors are found anew every ``refresh`` steps. The weight rises from 0 over the first ``ramp`` (a share of all steps).
    """

    weight: float | None = None
    exponent: Exponent = 1
    refresh: int = 20
    ramp: float = 0.2
    reach: float = 24.0


def modified_stable_rank(matrices: Tensor, rank: int, exponent: Exponent = 1) -> Tensor:
    """Sum of the singular values beyond ``rank`` over the sum of the first ``rank``, each to the power of ``exponent``.

    ``matrices`` [groups, m, n]: sums go over the groups, because they are cut at one rank. 0 exactly where no rank is above; the same for
    any multiple of the matrices.
    """
    singular = torch.linalg.svdvals(matrices) ** exponent
    head, tail = singular[:, :rank].sum(), singular[:, rank:].sum()
    return tail / head if head > 0 else torch.zeros_like(tail)


def suited_weight(matrices: Sequence[Aim], settings: BsrSettings, steps: int, optimizer: torch.optim.Optimizer) -> float:
    """The weight at which SGD of ``steps`` steps, left to the penalty alone, would move singular values beyond the ranks ``reach`` times as
    far as they are from 0.

    Of exponent 1 a step of size e moves each by e weight / (L A), A being the head's sum and L the number of matrices; of exponent 2 by
    2 e weight s / (L A). Too small a weight leaves the tail as it is, and which is too small depends on the steps: ResNet-20, to be cut to
    a quarter of its MACs, keeps 67 to 68 % of held-out images right after 39 steps at 0.01 with any weight from 0 to 4. 1 for optimisers
    whose steps have no size in the gradient's units.
    """
    own, exponent = optimizer.param_groups[0], settings.exponent
    if not isinstance(optimizer, torch.optim.SGD) or not matrices or not steps:
        return 1.0
    each = []
    for matrix in matrices:
        powers = torch.linalg.svdvals(matrix.view().detach()).pow(exponent)
        head, beyond = float(powers[:, : matrix.rank].sum()), powers[:, matrix.rank :]
        each.append(head * (float(beyond.mean()) if exponent == 1 else 0.5) if beyond.numel() else 0.0)
    moved = MEAN_SHARE * steps * float(own.get("peak", own["lr"])) / (1 - float(own["momentum"]))
    return settings.reach * sum(each) / moved if moved > 0 else 1.0  # the mean over matrices times their number: the penalty is a mean


@dataclass(eq=False)
class _Vectors:
    """Singular vectors of one matrix: ``left`` [groups, m, k], ``right`` [groups, n, k]."""

    left: Tensor
    right: Tensor


class Bsr:
    """A ``Method``: the mean over ``matrices`` of the modified stable rank at each one's rank.

    Value and gradient are exact at a refresh (for distinct singular values). In between, singular value i is taken as
    \\|u_i^T M v_i\\| for exponent 1; for exponent 2 the head's energy as that of M inside the span of its left vectors.
    """

    def __init__(self, matrices: Sequence[Aim], settings: BsrSettings | None = None) -> None:
        self.matrices, self.settings = tuple(matrices), settings or BsrSettings()
        self.steps = self.step = 0
        self.weight = 0.0
        self.vectors: list[_Vectors] = []

    def start(self, steps: int, optimizer: torch.optim.Optimizer) -> None:
        self.steps, self.step = steps, 0
        own = self.settings.weight
        self.weight = suited_weight(self.matrices, self.settings, steps, optimizer) if own is None else own
        self._refresh()

    def penalty(self) -> Tensor | None:
        rising = max(1.0, self.settings.ramp * self.steps)
        weight = self.weight * min(1.0, (self.step + 1) / rising)
        if not weight or not self.matrices:
            return None
        each = [self._rank(m, v) for m, v in zip(self.matrices, self.vectors, strict=True)]
        return weight / len(each) * torch.stack(each).sum()

    def after_step(self, step: int) -> None:
        self.step = step
        if step % self.settings.refresh == 0:
            self._refresh()

    def finish(self) -> None:
        pass

    def state(self) -> Mapping[str, Tensor]:
        held = {"step": torch.tensor(self.step), "weight": torch.tensor(self.weight, dtype=torch.float64)}
        for i, v in enumerate(self.vectors):
            held |= {f"{i}.left": v.left, f"{i}.right": v.right}
        return held

    def load(self, state: Mapping[str, Tensor]) -> None:
        self.step, self.weight = int(state["step"]), float(state["weight"])
        self.vectors = [_Vectors(state[f"{i}.left"], state[f"{i}.right"]) for i in range(len(self.matrices))]

    def _rank(self, matrix: Aim, vectors: _Vectors) -> Tensor:
        m, r = matrix.view(), matrix.rank
        if self.settings.exponent == 1:
            singular = (vectors.left * (m @ vectors.right)).sum(dim=1).abs()
            head, tail = singular[:, :r].sum(), singular[:, r:].sum()
        else:
            head = (vectors.left[:, :, :r].transpose(1, 2) @ m).square().sum()
            tail = m.square().sum() - head
        return tail / head if head > 0 else 0 * tail

    @torch.no_grad()
    def _refresh(self) -> None:
        self.vectors = []
        for matrix in self.matrices:
            u, _, vh = torch.linalg.svd(matrix.view().detach(), full_matrices=False)
            if self.settings.exponent == 2:  # the tail is what the head leaves: its vectors aren't needed
                u, vh = u[:, :, : matrix.rank], vh[:, : matrix.rank]
            self.vectors.append(_Vectors(u.contiguous(), vh.transpose(1, 2).contiguous()))
