"""The common factor of one side, from the layers' weights alone or from their inputs too, and the sizes of the channels between."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, cast

import torch
from torch import Tensor

from edgelr.factorize.basis import middle_scales
from edgelr.factorize.geometry import Geometry
from edgelr.factorize.joint_basis import common_left, common_right, common_right_of
from edgelr.factorize.matrices import weight_from_matrix
from edgelr.factorize.moments import Moments
from edgelr.factorize.refit import Refit, refit_spatial
from edgelr.factorize.split import column_moment
from edgelr.vocabulary import Scheme


def one_sided(
    scheme: Scheme,
    side: Literal["left", "right"],
    geometries: Mapping[str, Geometry],
    matrices: Mapping[str, Tensor],
    known: Mapping[str, Moments],
) -> tuple[Tensor, Tensor, dict[str, Refit]]:
    """The common factor, the sizes of the middle channels, and of "left" with moments the refits of the others."""
    whole = list(matrices.values())
    rank, shares = min(whole[0].shape[1:]), [balance(m) for m in whole]
    if not known:
        basis = common_right(whole, shares, rank) if side == "left" else common_left(whole, shares, rank)
        return basis, sizes(whole, basis if side == "left" else None, basis if side == "right" else None), {}

    def of_columns(moment: Tensor, g: Geometry) -> Tensor:
        wide = column_moment(moment, g) if scheme == "spatial" else moment
        return wide.expand(g.groups, -1, -1)

    exact = {n: known[n].covariance if g.bias else known[n].second for n, g in geometries.items()}
    narrow = [of_columns(exact[n], g) for n, g in geometries.items()]
    rows = sum(m.rows for m in known.values())
    seconds = [of_columns(known[n].second, g) for n, g in geometries.items()]
    if side == "right":
        basis = common_left(whole, shares, rank, narrow)
        found = [middle_scales(basis.mT @ m, c, rows) for m, c in zip(whole, seconds, strict=True)]
        return basis, _mean_size(found), {}
    traces = [float(c.diagonal(dim1=1, dim2=2).sum()) or 1.0 for c in narrow]
    mean = sum(c / t for c, t in zip(narrow, traces, strict=True))
    assert isinstance(mean, Tensor)
    basis = common_right_of(whole, shares, rank, mean)
    projected = [m @ torch.linalg.pinv(basis) for m in whole]
    refits = {}
    for (name, g), left in zip(geometries.items(), projected, strict=True):
        weight = weight_from_matrix(matrices[name], scheme, g.weight_shape).reshape(g.groups, -1, g.patch_size)
        columns = g.kernel[1] if scheme == "spatial" else 1
        refits[name] = refit_spatial(weight, exact[name].expand(g.groups, -1, -1), left, basis, columns)
    return basis, _mean_size([middle_scales(basis, c, rows) for c in seconds]), refits


def _mean_size(sizes: list[Tensor]) -> Tensor:
    return torch.stack(sizes).square().mean(dim=0).sqrt()


def balance(matrix: Tensor) -> float:
    """A layer's weight in a sum over its group: whatever its norm, it counts alike."""
    energy = float(matrix.square().sum())
    return 1.0 / energy if energy > 0 else 0.0


def sizes(matrices: list[Tensor], right: Tensor | None, left: Tensor | None) -> Tensor:
    """Sizes of the middle channels [groups, k] that give a pair's two factors the same norm, in the mean of the layers."""
    seen = [(m @ right.mT).square().sum(dim=1) if right is not None else (cast(Tensor, left).mT @ m).square().sum(dim=2) for m in matrices]
    size = (sum(seen) / len(seen)) ** 0.25
    inverse = 1 / size if right is not None else size
    return torch.where(size > 0, inverse, 1.0)
