"""A matrix split into two factors, with its error at every rank: what a decomposition is cut from."""
from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from edgelr.factorize.basis import middle_scales, principal_basis, relative_tails
from edgelr.factorize.geometry import Geometry
from edgelr.factorize.matrices import matrix_view
from edgelr.factorize.moments import Moments
from edgelr.factorize.refit import Refit, refit_spatial
from edgelr.vocabulary import Scheme


@dataclass(frozen=True, eq=False)
class Split:
    """``left`` [groups, m, k] and ``right`` [groups, k, n] as in ``matrices``; ``scales`` [groups, k], the sizes of the middle channels;
    ``errors`` [k + 1], relative and squared, index = rank. Where ``refit`` is given it replaces ``left`` below full rank. All float64.
    """

    left: Tensor
    right: Tensor
    scales: Tensor
    errors: Tensor
    refit: Refit | None = None

    def factors(self, rank: int) -> tuple[Tensor, Tensor]:
        """Left [groups, m, rank] and right [groups, rank, n]."""
        refitted = self.refit is not None and rank < self.left.shape[2]
        return self.refit.left(rank) if self.refit and refitted else self.left[:, :, :rank], self.right[:, :rank]


def plain_split(weight: Tensor, scheme: Scheme, geometry: Geometry) -> Split:
    """By the weight alone: the error is the weight's."""
    left, right, energies = _basis(matrix_view(weight, scheme, geometry.groups), None)
    return Split(left, right, middle_scales(right, None), relative_tails(energies))


def aware_splits(weight: Tensor, scheme: Scheme, geometry: Geometry, moments: Moments) -> tuple[Split, ...]:
    """By the layer's inputs: the error is that of the outputs. Where there are two splits, take the better one at each rank."""
    second = moments.second
    moment = moments.covariance if geometry.bias else second
    flat = weight.reshape(geometry.groups, -1, geometry.patch_size)
    if _energy(flat, moment) <= 1e-12 * _energy(flat, second):
        moment = torch.zeros_like(moment)  # constant outputs: what is left of the covariance is rounding
    matrices = matrix_view(weight, scheme, geometry.groups)
    if scheme != "spatial":
        left, right, energies = _basis(matrices, moment)
        return (Split(left, right, middle_scales(right, second, moments.rows), relative_tails(energies)),)

    column_second = column_moment(second, geometry)
    splits = []
    for basis in (_basis(matrices, column_moment(moment, geometry)), _basis(matrices, None)):
        left, right, _ = basis
        refit = refit_spatial(flat, moment, left, right, geometry.kernel[1])
        whole = refit.errors[0]
        errors = refit.errors / whole if whole > 0 else torch.zeros_like(refit.errors)
        splits.append(Split(left, right, middle_scales(right, column_second, moments.rows), errors, refit))
    whitened, plain = splits
    better = plain.errors < whitened.errors - 1e-9
    return (whitened, plain) if better.any() else (whitened,)


def _basis(matrices: Tensor, moments: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """``principal_basis`` of each group (one moment may serve all); energies summed over the groups, because they are cut at one rank."""
    each = [None] * len(matrices) if moments is None else moments.expand(len(matrices), -1, -1)
    bases = [principal_basis(matrix, moment) for matrix, moment in zip(matrices, each, strict=True)]
    left, right, energies = (torch.stack(parts) for parts in zip(*bases, strict=True))
    return left, right, energies.sum(dim=0)


def column_moment(moment: Tensor, geometry: Geometry) -> Tensor:
    """The moment of one column of the patch, averaged over the columns: [groups, in / groups * k1, the same]."""
    columns = geometry.kernel[1]
    vertical = geometry.patch_size // columns
    blocks = moment.reshape(geometry.groups, vertical, columns, vertical, columns)
    return blocks.diagonal(dim1=2, dim2=4).mean(dim=-1)


def _energy(weight: Tensor, moment: Tensor) -> float:
    return float(((weight @ moment) * weight).sum())
