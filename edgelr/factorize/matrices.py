"""A layer's weight as a matrix for each group, and two factors of that matrix as the weights of two layers.

Always M = left @ right: ``right`` [r, n] becomes the first layer, ``left`` [m, r] the second.

    channel, linear   M[o, (c, a, b)] = W[o, c, a, b]      m = out/groups         n = in/groups * k1 * k2
    spatial           M[(o, b), (c, a)] = W[o, c, a, b]    m = out/groups * k2    n = in/groups * k1
    recurrent         M[o, i] = W[o, i]                    m = gates * hidden     n = in: one matrix of all gates
    gates             M[o, i] = W[o, i] of each gate       m = hidden             n = in: a group is a gate, and all read the same input

with o, c counted inside the group, a down the k1 rows of the kernel and b along its k2 columns. The patch order (c, a, b) is that
of torch's unfold. ``channel`` is scheme 1 and ``spatial`` scheme 2 of Idelbayev & Carreira-Perpinan (CVPR 2020); ``spatial`` goes
back to Jaderberg et al. (BMVC 2014).
"""
from __future__ import annotations

from collections.abc import Sequence
from math import prod

from torch import Tensor, float64

from edgelr.vocabulary import Scheme


def _groups(scheme: Scheme, groups: int) -> int:
    return 1 if scheme == "recurrent" else groups


def matrix_sides(weight_shape: Sequence[int], scheme: Scheme, groups: int) -> tuple[int, int]:
    """Rows m and columns n of one group's matrix."""
    out = weight_shape[0] // _groups(scheme, groups)
    if scheme == "spatial":
        _, channels, k1, k2 = weight_shape
        return out * k2, channels * k1
    return out, prod(weight_shape[1:])


def max_rank(weight_shape: Sequence[int], scheme: Scheme, groups: int) -> int:
    """Full rank of one group's matrix."""
    return min(matrix_sides(weight_shape, scheme, groups))


def matrices_of(weight: Tensor, scheme: Scheme, groups: int) -> Tensor:
    """The weight [out, in/groups, *kernel] as matrices [groups, m, n] (one of them for "recurrent"), differentiable, in its own dtype."""
    m, n = matrix_sides(weight.shape, scheme, groups)
    if scheme == "spatial":
        weight = weight.permute(0, 3, 1, 2)
    return weight.reshape(-1, m, n)


def matrix_view(weight: Tensor, scheme: Scheme, groups: int) -> Tensor:
    """``matrices_of``, apart from the weight: float64 on the CPU."""
    return matrices_of(weight.detach().to("cpu", float64), scheme, groups)


def weight_from_matrix(matrix: Tensor, scheme: Scheme, weight_shape: Sequence[int]) -> Tensor:
    """The inverse of ``matrix_view``: [groups, m, n] to the weight's own shape."""
    if scheme == "spatial":
        out, channels, k1, k2 = weight_shape
        return matrix.reshape(out, k2, channels, k1).permute(0, 2, 3, 1).contiguous()
    return matrix.reshape(*weight_shape)


def pair_weight_shapes(weight_shape: Sequence[int], scheme: Scheme, groups: int, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Weight shapes of the two layers, the first with groups * rank outputs. "gates": the second's blocks, one above the other."""
    out, channels, *kernel = weight_shape
    middle = _groups(scheme, groups) * rank
    if scheme == "spatial":
        return (middle, channels, kernel[0], 1), (out, rank, 1, kernel[1])
    return (middle, channels, *kernel), (out, rank, *(1 for _ in kernel))


def pair_weights(left: Tensor, right: Tensor, scheme: Scheme, weight_shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The factors left [groups, m, r] and right [groups, r, n] as the weights of the first and the second layer."""
    groups, _, rank = left.shape
    first, second = pair_weight_shapes(weight_shape, scheme, groups, rank)
    if scheme == "spatial":
        left = left.reshape(second[0], second[3], rank).transpose(1, 2)
    return right.reshape(first), left.reshape(second)
