"""The second factor of a spatial pair, refitted to the inputs, for all ranks at once."""
from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# Relative to each middle channel's own energy: above float64's rounding, far below what a score could see.
_RIDGE = 1e-10


@dataclass(frozen=True, eq=False)
class Refit:
    """Least squares of the outputs on the middle tensor, factored so that every rank is a prefix.

    With z the k2 * k middle values that one output position reads (ordered by rank first, then column), T = E[z z^T] and
    Y = E[y z^T], the best second factor of rank r is L_r = Y_r T_r^-1 on the first r * k2 values. One Cholesky T + R = F F^T holds for
    all prefixes: L_r = Q_r F_r^-1 with Q = Y F^-T, and the explained energy is the running sum of Q's squared columns.
    The ridge R pulls towards the unrefitted factor, not towards 0, so that what the inputs don't determine stays as it was.

    ``cholesky`` [groups, k * k2, k * k2], ``projected`` [groups, out / groups, k * k2], ``errors`` [k + 1]: E||error||^2 of all groups
    by rank, index = rank, rank 0 included.
    """

    cholesky: Tensor
    projected: Tensor
    errors: Tensor
    columns: int

    def left(self, rank: int) -> Tensor:
        """The refitted factor at ``rank``: [groups, out / groups * k2, rank], laid out as in ``matrices``."""
        size = rank * self.columns
        corner, known = self.cholesky[:, :size, :size], self.projected[:, :, :size]
        factor: Tensor = torch.linalg.solve_triangular(corner, known, upper=False, left=False)
        groups, outputs, _ = factor.shape
        return factor.reshape(groups, outputs, rank, self.columns).transpose(2, 3).reshape(groups, outputs * self.columns, rank)


def refit_spatial(weight: Tensor, moment: Tensor, left: Tensor, right: Tensor, columns: int) -> Refit:
    """Prepare the refit. ``weight`` [groups, out / groups, d] and ``moment`` [groups, d, d] in patch order (channel, row, column);
    ``left`` [groups, out / groups * k2, k] and ``right`` [groups, k, d / k2] as split by ``principal_basis``; ``columns`` = k2.
    """
    groups, outputs, d = weight.shape
    ranks, vertical = right.shape[1:]
    # E[z z^T][(r, b), (s, e)] = right_r E[x_b x_e^T] right_s^T, where x_b is column b of the patch.
    half = (right @ moment.reshape(groups, vertical, columns * d)).reshape(groups, ranks * columns, vertical, columns)
    size = ranks * columns
    middle = (half.transpose(2, 3).reshape(groups, size * columns, vertical) @ right.transpose(1, 2)).reshape(groups, size, columns, ranks)
    middle = middle.transpose(2, 3).reshape(groups, size, size)
    through = (weight @ moment).reshape(groups, outputs, vertical, columns).transpose(2, 3)
    outputs_by_middle = (through @ right[:, None].transpose(2, 3)).transpose(2, 3).reshape(groups, outputs, size)

    before = left.reshape(groups, outputs, columns, ranks).transpose(2, 3).reshape(groups, outputs, size)
    energy = middle.diagonal(dim1=1, dim2=2)
    largest = float(energy.max())
    ridge = _RIDGE * energy.clamp(min=1e-3 * largest) if largest > 0 else torch.ones_like(energy)
    cholesky, ridge = _cholesky((middle + middle.transpose(1, 2)) / 2, ridge)
    target = outputs_by_middle + before * ridge[:, None]
    projected = torch.linalg.solve_triangular(cholesky.transpose(1, 2), target, upper=True, left=False)

    total = ((weight @ moment) * weight).sum()
    gained = (projected.square() - before.square() * ridge[:, None]).sum(dim=1)
    gained_by_rank = gained.reshape(groups, ranks, columns).sum(dim=(0, 2)).cumsum(0)
    errors = torch.cat([total[None], total - gained_by_rank]).clamp(min=0).cummin(0).values
    errors[-1] = 0.0  # full rank is exact and is not refitted
    return Refit(cholesky, projected, errors, columns)


def _cholesky(matrix: Tensor, ridge: Tensor) -> tuple[Tensor, Tensor]:
    """Cholesky factor of matrix + ridge, and the ridge that it took: rounding can leave a singular moment slightly negative."""
    while True:
        factor, failed = torch.linalg.cholesky_ex(matrix + torch.diag_embed(ridge))
        if not failed.any():
            return factor, ridge
        ridge = 10 * ridge
