"""Joint matrix decomposition (Chen et al., arXiv 2107.04386): layers of equal shape with a factor in common, split once for every rank."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, cast

import torch
from torch import Tensor, nn

from edgelr.errors import BadInputError, UsageError
from edgelr.factorize.geometry import Geometry, geometry_of
from edgelr.factorize.joint_basis import both
from edgelr.factorize.joint_split import balance, one_sided, sizes
from edgelr.factorize.matrices import matrix_view, pair_weights, weight_from_matrix
from edgelr.factorize.moments import Moments
from edgelr.factorize.refit import Refit
from edgelr.factorize.schemes import schemes_of
from edgelr.vocabulary import Scheme

Side = Literal["left", "right", "both"]
Common = Literal["first", "second"]  # the layer of a pair whose weight the group has in common
SWEEPS = 30  # the paper's K; its study finds 30 sweeps as good as 70


@dataclass(frozen=True, eq=False)
class SharedPair:
    """The weights of one of a layer's pairs, in torch's layouts. ``common`` says which of the two is the group's, the same for all."""

    first: Tensor
    second: Tensor
    common: Common


@dataclass(eq=False)
class JointDecomposition:
    """The weights of a group of layers split together by one side, to be cut at any rank. Made by ``decompose_group``.

    "left" has the first layer's weight in common, "right" the second's. "both" is the sum of two pairs, the first of which has its first
    layer in common and the second its second: it is computed anew for each rank, and kept. Each layer counts alike: by its share of its own
    energy, whatever its norm (the stacked SVD alone would serve the layers with the largest norm).
    """

    scheme: Scheme
    side: Side
    geometries: Mapping[str, Geometry]
    matrices: Mapping[str, Tensor]  # [groups, m, n], float64
    biases: Mapping[str, Tensor | None]
    basis: Tensor | None  # of one side: R [groups, k, n] of "left", L [groups, m, k] of "right"
    scales: Tensor | None  # [groups, k], sizes of the middle channels
    moments: Mapping[str, Moments]
    refits: Mapping[str, Refit]  # of "left" with moments: each layer's own second factor
    sweeps: int = SWEEPS
    _both: dict[tuple[int, int], tuple[Tensor, Tensor]] = field(default_factory=dict)

    @property
    def max_rank(self) -> int:
        """Full rank of one layer (of each group)."""
        return min(next(iter(self.matrices.values())).shape[1:])

    def parts(self, name: str, rank: int, left_rank: int = 0) -> tuple[tuple[Tensor, Tensor, Common], ...]:
        """The factors left [groups, m, r] and right [groups, r, n] of each of a layer's pairs, and which layer of it is common."""
        if not 1 <= rank <= self.max_rank:
            why = f"this group's layers have ranks 1 to {self.max_rank}"
            raise UsageError(f"rank {rank} is not possible", why, "choose a rank in that range")
        matrix = self.matrices[name]
        if self.side == "both":
            if not 1 <= left_rank < rank:
                raise UsageError(f"left rank {left_rank} of {rank} is not possible", "both sides need a part", "1 to the rank less 1")
            right, left = self._common(left_rank, rank - left_rank)
            ours, theirs = _fitted(matrix, right, left)
            return (*_evened(ours, right, "first", self._evenly(right, None)), *_evened(left, theirs, "second", self._evenly(None, left)))
        assert self.basis is not None and self.scales is not None
        if self.side == "left":
            right = self.basis[:, :rank]
            own = self.refits[name].left(rank) if name in self.refits else matrix @ right.mT
            return _evened(own, right, "first", self.scales[:, :rank])
        left = self.basis[:, :, :rank]
        return _evened(left, left.mT @ matrix, "second", self.scales[:, :rank])

    def pairs(self, name: str, rank: int, left_rank: int = 0) -> tuple[tuple[SharedPair, ...], Tensor | None]:
        """The pair (two of "both", which are summed) as weights of torch layers, and the bias (None where the layer has none)."""
        g = self.geometries[name]
        made = []
        for left, right, common in self.parts(name, rank, left_rank):
            first, second = pair_weights(left, right, self.scheme, g.weight_shape)
            made.append(SharedPair(self._cast(name, first), self._cast(name, second), common))
        return tuple(made), self._bias(name, rank, left_rank)

    def weights(self, name: str, rank: int, left_rank: int = 0) -> tuple[Tensor, Tensor, Tensor | None]:
        """A layer's own two weights and bias, as of a pair that shares nothing; of "both" one pair that equals the two summed."""
        g = self.geometries[name]
        parts = self.parts(name, rank, left_rank)
        left, right = torch.cat([p[0] for p in parts], dim=2), torch.cat([p[1] for p in parts], dim=1)
        first, second = pair_weights(left, right, self.scheme, g.weight_shape)
        return self._cast(name, first), self._cast(name, second), self._bias(name, rank, left_rank)

    def product(self, name: str, rank: int, left_rank: int = 0) -> tuple[Tensor, Tensor | None]:
        """The dense weight and bias that a layer's pairs amount to at a rank, in the layer's shape and dtype."""
        return self._cast(name, self._composed(name, rank, left_rank)), self._bias(name, rank, left_rank)

    def error(self, name: str, rank: int, left_rank: int = 0) -> float:
        """A layer's squared error at a rank, relative to the whole: of its weight, or with moments of its outputs, bias corrected."""
        g, moments = self.geometries[name], self.moments.get(name)
        whole = weight_from_matrix(self.matrices[name], self.scheme, g.weight_shape)
        lost = whole - self._composed(name, rank, left_rank)
        if moments is None:
            return _ratio(lost.square().sum(), whole.square().sum())
        moment = moments.covariance if g.bias else moments.second
        return _ratio(_energy(lost, moment, g.groups), _energy(whole, moment, g.groups))

    def errors(self, name: str) -> Tensor:
        """``error`` of all ranks, float64 [max_rank + 1]; index = rank, rank 0 being the layer without its weight. Not of "both"."""
        if self.side == "both":
            raise UsageError("there is an error for each pair of ranks", "both sides have a rank of their own", "ask for error()")
        if name in self.moments:
            return torch.tensor([1.0, *(self.error(name, r) for r in range(1, self.max_rank + 1))], dtype=torch.float64)
        assert self.basis is not None
        matrix = self.matrices[name]
        own = matrix @ self.basis.mT if self.side == "left" else self.basis.mT @ matrix
        seen = own.square().sum(dim=(0, 1) if self.side == "left" else (0, 2))
        total = matrix.square().sum()
        left = torch.cat([total[None], total - seen.cumsum(0)]).clamp(min=0)[: self.max_rank + 1]
        return left / total if total > 0 else torch.zeros_like(left)

    def _common(self, left_rank: int, right_rank: int) -> tuple[Tensor, Tensor]:
        if (left_rank, right_rank) not in self._both:
            whole = list(self.matrices.values())
            right, left, _ = both(whole, [balance(m) for m in whole], left_rank, right_rank, self.sweeps)
            self._both[left_rank, right_rank] = right, left
        return self._both[left_rank, right_rank]

    def _evenly(self, right: Tensor | None, left: Tensor | None) -> Tensor:
        """Sizes of the middle channels of one of two summed pairs: the group's mean, since all layers have one common factor."""
        return sizes(list(self.matrices.values()), right, left)

    def _composed(self, name: str, rank: int, left_rank: int) -> Tensor:
        product = sum(left @ right for left, right, _ in self.parts(name, rank, left_rank))
        return weight_from_matrix(cast(Tensor, product), self.scheme, self.geometries[name].weight_shape)

    def _bias(self, name: str, rank: int, left_rank: int) -> Tensor | None:
        """The bias, which with moments makes the pair's mean output that of the layer."""
        bias, moments = self.biases[name], self.moments.get(name)
        if bias is None or moments is None:
            return None if bias is None else self._cast(name, bias)
        g = self.geometries[name]
        lost = weight_from_matrix(self.matrices[name], self.scheme, g.weight_shape) - self._composed(name, rank, left_rank)
        groups, d = moments.mean.shape
        return self._cast(name, bias + (lost.reshape(groups, -1, d) @ moments.mean[:, :, None]).flatten())

    def _cast(self, name: str, tensor: Tensor) -> Tensor:
        g = self.geometries[name]
        return tensor.to(g.device, g.dtype)


def decompose_group(
    modules: Mapping[str, nn.Module], scheme: Scheme, side: Side, *, moments: Mapping[str, Moments] | None = None, sweeps: int = SWEEPS
) -> JointDecomposition:
    """Split layers of equal weight shape together, with the factor of ``side`` in common: one eigendecomposition, good for every rank.

    "right" and "left" are the exact optimum of sum_i ||M_i - L_i R_i||^2 / ||M_i||^2 with one of the factors the same for all. With the
    moments of all layers' inputs "right" is the optimum for their outputs, E||error||^2 (of "spatial" with the columns taken apart). A
    factor that reads several layers' inputs has no such closed form: of "left" it is that of their mean moment, and each layer's own
    factor is refitted to its own inputs by least squares. "both" goes by the weights alone. With moments the biases take over the mean's
    error.

    Raises UsageError where the layers differ in shape or can't take the scheme, BadInputError where a weight is NaN or infinite.
    """
    geometries = {}
    for name, module in modules.items():
        possible, reason = schemes_of(module)
        if scheme not in possible or scheme in ("recurrent", "gates"):
            raise UsageError(f"layer {name!r} can't share a factor as {scheme!r}", reason or f"it can take {' or '.join(possible)}",
                             "leave it out of the group")
        geometries[name] = geometry_of(module)
        if not torch.isfinite(cast(Tensor, module.weight)).all():
            raise BadInputError(f"the weight of layer {name!r} is NaN or infinite", "it can't be decomposed", "check the weights file")
    shapes = {(g.weight_shape, g.groups) for g in geometries.values()}
    if len(shapes) != 1:
        what = "layers of different shapes can't have a factor in common" if shapes else "a group needs layers"
        raise UsageError(what, ", ".join(f"{n} {g.weight_shape}" for n, g in geometries.items()), "group layers of equal shape")
    matrices = {n: matrix_view(cast(Tensor, m.weight), scheme, geometries[n].groups) for n, m in modules.items()}
    biases = {n: m.bias.detach().to("cpu", torch.float64, copy=True) if isinstance(m.bias, Tensor) else None for n, m in modules.items()}
    known = {n: m for n, m in (moments or {}).items() if n in modules and m.count}
    aware = known if len(known) == len(modules) else {}
    if side == "both":
        return JointDecomposition(scheme, side, geometries, matrices, biases, None, None, known, {}, sweeps)
    basis, scales, refits = one_sided(scheme, side, geometries, matrices, aware)
    return JointDecomposition(scheme, side, geometries, matrices, biases, basis, scales, known, refits, sweeps)


def _fitted(matrix: Tensor, right: Tensor, left: Tensor) -> tuple[Tensor, Tensor]:
    """Least squares A, B of M = A R + L B with R and L orthonormal: B takes L's directions of all M, A what is left of R's."""
    theirs = left.mT @ matrix
    return (matrix - left @ theirs) @ right.mT, theirs


def _evened(left: Tensor, right: Tensor, common: Common, scales: Tensor) -> tuple[tuple[Tensor, Tensor, Common]]:
    return ((left * scales[:, None, :], right / scales[:, :, None], common),)


def _energy(weight: Tensor, moment: Tensor, groups: int) -> Tensor:
    flat = weight.reshape(groups, -1, moment.shape[-1])
    return ((flat @ moment) * flat).sum()


def _ratio(part: Tensor, whole: Tensor) -> float:
    return float((part / whole).clamp(0, 1)) if whole > 0 else 0.0
