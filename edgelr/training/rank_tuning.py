"""Training for low ranks as Rank-Tuning does it: a nuclear norm that grows, and projections to a low rank on the way.

Maison, du Mas des Bourboux and Courtat, arXiv 2310.12688 ("NR" and "HLRA"): there on the gate matrices of recurrent layers, here on any
layer's.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil

import torch
from torch import Tensor

from edgelr.factorize import max_rank
from edgelr.training.method import Matrix


@dataclass(frozen=True)
class RankTuningSettings:
    """``weight`` of the sum of nuclear norms; it grows from 0 at the first of ``ramp`` to its whole at the second (shares of all steps).

    Every ``every`` steps each matrix is cut to its rank; 0: never; None: ``projections`` times in all, the last one at the end left out.
    The norms' gradients are renewed every ``refresh`` steps: four matrices of 384 x 128 take 12 ms of SVD, a step of their GRU 95 ms (one
    core). The other defaults are those of the authors' code for their largest network: 50 epochs, ramp from 5 to 25, cut every 10.
    """

    weight: float = 1e-3
    ramp: tuple[float, float] = (0.1, 0.5)
    every: int | None = None
    projections: int = 5
    refresh: int = 4


class RankTuning:
    """A ``Method``: the sum of the matrices' nuclear norms beside the loss, and each matrix cut to its rank now and then.

    After the last step nothing is cut: ranks are chosen then. The gradient of a nuclear norm is U V^T of the matrix's SVD. Between two
    renewals the penalty is the linear function that this gradient spans: never more than the norm, and equal to it where it is renewed
    each step.
    """

    def __init__(self, matrices: Sequence[Matrix], settings: RankTuningSettings | None = None) -> None:
        self.matrices, self.settings = tuple(matrices), settings or RankTuningSettings()
        self.steps = self.step = self.every = 0
        self._polar: dict[str, Tensor] = {}

    def start(self, steps: int, optimizer: torch.optim.Optimizer) -> None:
        own = self.settings
        self.steps, self.step, self._polar = steps, 0, {}
        self.every = max(1, ceil(steps / own.projections)) if own.every is None else own.every

    def penalty(self) -> Tensor | None:
        weight = self.settings.weight * ramp_at(self.step / max(1, self.steps), self.settings.ramp)
        if not weight or not self.matrices:
            return None
        if not self._polar or self.step % self.settings.refresh == 0:
            self._polar = {matrix.name: polar(matrix.view()) for matrix in self.matrices}
        return weight * torch.stack([(self._polar[matrix.name] * matrix.view()).sum() for matrix in self.matrices]).sum()

    def after_step(self, step: int) -> None:
        self.step = step
        if self.every and step % self.every == 0 and step < self.steps:
            for matrix in self.matrices:
                matrix.write(truncated(matrix.view(), matrix.rank))
            self._polar = {}

    def finish(self) -> None:
        pass

    def state(self) -> Mapping[str, Tensor]:
        return {"step": torch.tensor(self.step)} | {f"polar.{name}": value for name, value in self._polar.items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        self.step = int(state["step"])
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
    result: Tensor = (u * kept.unsqueeze(-2)) @ vh
    return result


@torch.no_grad()
def truncated(matrices: Tensor, rank: int) -> Tensor:
    """The nearest matrices [groups, m, n] of this rank, by truncated SVD in float64."""
    u, s, vh = torch.linalg.svd(matrices.detach().double(), full_matrices=False)
    result: Tensor = (u[..., :rank] * s[..., None, :rank]) @ vh[..., :rank, :]
    return result.to(matrices.dtype)


def of_rank(matrices: Sequence[Matrix], rank: int) -> tuple[Matrix, ...]:
    """The matrices, each to be cut to this rank, or left whole where its own is no higher. The authors took 20 for gates of 150 units."""
    return tuple(replace(m, rank=min(rank, max_rank(m.weight.shape, m.scheme, m.groups))) for m in matrices)
