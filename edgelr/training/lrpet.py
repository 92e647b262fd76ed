"""Low-rank projection with energy transfer (Guo et al., arXiv 2204.05566): weights are projected to their ranks as they are trained."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from edgelr.training.method import Matrix

NO_GAIN = 1e-12  # of a matrix' largest singular value: nothing to transfer energy to


@dataclass(frozen=True)
class LrpetSettings:
    """Projection every ``every`` steps (0: none on the way), and at the end.

    ``tail`` is the share of each singular value beyond the rank that a projection leaves; 0 but in the last one. ``energy_transfer``
    keeps a matrix' norm; ``rectify`` projects the weight as batch norm will scale it, and ``inverse_eps``, relative to the layer's
    largest squared gain, regularises the way back.
    ``momentum`` of the optimiser after a projection: kept as it is, made tangent to the matrices of that rank, or forgotten.
    """

    every: int = 100
    tail: float = 0.0
    energy_transfer: bool = True
    rectify: bool = True
    inverse_eps: float = 1e-5  # the authors' code has it absolute, beside gains of about 1
    momentum: Literal["keep", "tangent", "zero"] = "tangent"


def projected(matrices: Tensor, rank: int, tail: float = 0.0, energy_transfer: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    """Matrices [groups, m, n] of ``rank`` and of the same Frobenius norm, and their left [groups, m, r] and right [groups, n, r] vectors.

    s'_i = g s_i up to the rank and ``tail`` s_i beyond, with g^2 = (sum s^2 - sum (tail s)^2 beyond) / (sum s^2 up to it): the paper's
    energy transfer as its code has it. A matrix of zeros stays.
    """
    u, s, vh = torch.linalg.svd(matrices, full_matrices=False)
    head, beyond = s[:, :rank], tail * s[:, rank:]
    if energy_transfer:
        kept = head.square().sum(dim=1, keepdim=True)
        wanted = s.square().sum(dim=1, keepdim=True) - beyond.square().sum(dim=1, keepdim=True)
        gain = torch.where(kept > NO_GAIN * s[:, :1].square(), (wanted / kept.clamp(min=torch.finfo(s.dtype).tiny)).sqrt(), 1.0)
        head = head * gain
    scaled = torch.cat([head, beyond], dim=1)
    return (u * scaled[:, None, :]) @ vh, u[:, :, :rank], vh[:, :rank].transpose(1, 2)


def tangent(values: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """``values`` [groups, m, n] without what leads away from the matrices of the rank whose singular vectors are ``left`` and ``right``."""
    across = values @ right @ right.transpose(1, 2)
    return left @ (left.transpose(1, 2) @ (values - across)) + across


class Lrpet:
    """A ``Method``: the weights of ``matrices`` are projected to each one's rank on a schedule. ``norms`` by layer name: the batch norm
    behind it, where there is one; a layer without one is projected as it is.

    Statistics of batch norms are those from before the projection: recalibrate them before the network is judged.
    """

    def __init__(self, matrices: Sequence[Matrix], norms: Mapping[str, nn.Module], settings: LrpetSettings | None = None) -> None:
        self.matrices, self.norms, self.settings = tuple(matrices), dict(norms), settings or LrpetSettings()
        self.optimizer: torch.optim.Optimizer | None = None

    def start(self, steps: int, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer

    def penalty(self) -> Tensor | None:
        return None

    def after_step(self, step: int) -> None:
        if self.settings.every and step % self.settings.every == 0:
            self.project(self.settings.tail)

    def finish(self) -> None:
        self.project(0.0)

    def state(self) -> Mapping[str, Tensor]:
        return {}

    def load(self, state: Mapping[str, Tensor]) -> None:
        pass

    @torch.no_grad()
    def project(self, tail: float = 0.0) -> None:
        """Project every matrix now."""
        for matrix in self.matrices:
            rows = gains(matrix, self.norms.get(matrix.name) if self.settings.rectify else None)
            view = matrix.view().detach()
            if rows is None:
                made, left, right = projected(view, matrix.rank, tail, self.settings.energy_transfer)
            else:
                merged, left, right = projected(rows * view, matrix.rank, tail, self.settings.energy_transfer)
                inverse = regularised_inverse(rows, self.settings.inverse_eps)
                made = inverse * merged
                if self.settings.momentum == "tangent":  # scaled rows span another left space
                    left = torch.linalg.qr(inverse * left).Q
            matrix.write(made)
            self._momentum(matrix, left, right)

    def _momentum(self, matrix: Matrix, left: Tensor, right: Tensor) -> None:
        held = {} if self.optimizer is None else self.optimizer.state.get(matrix.weight, {})
        for name in ("momentum_buffer", "exp_avg"):
            values = held.get(name)
            if values is None or self.settings.momentum == "keep":
                continue
            if self.settings.momentum == "zero":
                values.zero_()
                continue
            like = Matrix(matrix.name, values, matrix.scheme, matrix.groups, matrix.rank)
            like.write(tangent(like.view(), left, right))


def regularised_inverse(rows: Tensor, eps: float) -> Tensor:
    """a / (a^2 + eps A^2) of gains a, the largest of them A: about 1 / a, and 0 for 0."""
    largest = rows.abs().amax()
    shares = rows / largest
    return shares / (shares.square() + eps) / largest if largest > 0 else torch.zeros_like(rows)


def gains(matrix: Matrix, norm: Any) -> Tensor | None:
    """The factor of each row [groups, m, 1] that batch norm ``norm`` puts on the layer's outputs; None without one."""
    if norm is None:
        return None
    each = 1 / torch.sqrt(norm.running_var.detach() + norm.eps)
    if norm.weight is not None:
        each = each * norm.weight.detach()
    rows = matrix.view().shape[1] * matrix.groups // len(each)  # a spatial matrix has a row for each column of the kernel
    return each.repeat_interleave(rows).reshape(-1, matrix.view().shape[1], 1)
