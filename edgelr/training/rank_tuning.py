"""Training for low ranks as Rank-Tuning does it: a nuclear norm that grows, and projections to a low rank on the way.

Maison, du Mas des Bourboux and Courtat, arXiv 2310.12688 ("NR" and "HLRA"), on the gate matrices of recurrent layers there; on any layer here.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from edgelr.factorize import max_rank
from edgelr.training.method import Matrix

RAMP = (0.1, 0.5)  # shares of all steps: epochs 5 and 25 of 50, as the authors' code has them for their largest network
WEIGHT = 1e-3  # of the nuclear norm, as there
PROJECTIONS = 5  # in one training, as there: every tenth of 50 epochs
REFRESH = 4  # steps; four matrices of 384 x 128 take 12 ms of SVD, a step of their GRU 95 ms (one x86-64 core)


class RankTuning:
    """Implements ``Method``: weight * ramp * the sum of the matrices' nuclear norms, and every ``every`` steps each matrix cut to its rank.

    ``ramp`` are two shares of all steps: 0 until the first, then linearly up to 1 at the second. ``every`` 0 projects never, None
    ``PROJECTIONS`` times in all. Nothing is projected after the last step: ranks are chosen then.

    The gradient of a nuclear norm is U V^T of the matrix's SVD, renewed every ``refresh`` steps and after every projection. In between the
    penalty is the linear function that this gradient spans: never more than the norm itself, and equal to it where ``refresh`` is 1.
    """

    def __init__(
        self, matrices: Sequence[Matrix], weight: float = WEIGHT, ramp: tuple[float, float] = RAMP, every: int | None = None,
        refresh: int = REFRESH,
    ) -> None:
        self.matrices, self.weight, self.ramp, self.every, self.refresh = tuple(matrices), weight, ramp, every, refresh
        self._steps = self._done = 0
        self._polar: dict[str, Tensor] = {}

    def start(self, steps: int, optimizer: torch.optim.Optimizer) -> None:
        self._steps, self._done, self._polar = steps, 0, {}
        if self.every is None:
            self.every = max(1, steps // PROJECTIONS)

    def penalty(self) -> Tensor | None:
        share = self.weight * ramp_at(self._done / max(1, self._steps), self.ramp)
        if not share or not self.matrices:
            return None
        if not self._polar or self._done % self.refresh == 0:
            self._polar = {matrix.name: polar(matrix.view()) for matrix in self.matrices}
        return share * torch.stack([(self._polar[matrix.name] * matrix.view()).sum() for matrix in self.matrices]).sum()

    def after_step(self, step: int) -> None:
        self._done = step
        if self.every and step % self.every == 0 and step < self._steps:
            for matrix in self.matrices:
                matrix.write(truncated(matrix.view(), matrix.rank))
            self._polar = {}

    def finish(self) -> None:
        pass

    def state(self) -> Mapping[str, Tensor]:
        return {"done": torch.tensor(self._done)} | {f"polar.{name}": value for name, value in self._polar.items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        self._done = int(state["done"])
        self._polar = {name.removeprefix("polar."): value for name, value in state.items() if name.startswith("polar.")}


def ramp_at(share: float, ramp: tuple[float, float]) -> float:
    """0 up to the first share of training, 1 from the second on, linear in between."""
    begin, end = ramp
    if share >= end:
        return 1.0
    return 0.0 if share <= begin else (share - begin) / (end - begin)


@torch.no_grad()
def polar(matrices: Tensor) -> Tensor:
    """U V^T of each of ``matrices`` [groups, m, n], over its singular values above rounding: a subgradient of the nuclear norm."""
    u, s, vh = torch.linalg.svd(matrices.detach(), full_matrices=False)
    kept = s > s[..., :1] * torch.finfo(s.dtype).eps * max(matrices.shape[-2:])
    return (u * kept.unsqueeze(-2)) @ vh


@torch.no_grad()
def truncated(matrices: Tensor, rank: int) -> Tensor:
    """The nearest matrices [groups, m, n] of this rank, by truncated SVD in float64."""
    u, s, vh = torch.linalg.svd(matrices.detach().double(), full_matrices=False)
    return ((u[..., :rank] * s[..., None, :rank]) @ vh[..., :rank, :]).to(matrices.dtype)


def at_share(matrices: Sequence[Matrix], share: float) -> tuple[Matrix, ...]:
    """The matrices with their rank set to this share of full rank, at least 1. The authors projected to 0.13 of it (20 of 150)."""
    return tuple(replace(m, rank=max(1, round(share * max_rank(m.weight.shape, m.scheme, m.groups)))) for m in matrices)
