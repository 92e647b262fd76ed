"""Common factors of several matrices: the optimum for one side, and alternating halves for both (arXiv 2107.04386, equations 4, 9, 14-17).

In our layout M = left @ right, so that the paper's W = U V is turned round: its left factor U is our ``right``, the first layer's, and its
right factor V our ``left``. All tensors float64; matrices are stacks [groups, m, n], one for each layer.
"""
from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

SILENT = 1e-9  # of the energy: orders what no input excites, and nothing else
WHITENING = 1e-6  # of the moment's mean diagonal: a moment of few samples is singular

SETTLED = 1e-4  # of the objective, in a sweep


def common_right(matrices: Sequence[Tensor], weights: Sequence[float], rank: int) -> Tensor:
    """R [groups, rank, n] with orthonormal rows, best first, that minimises sum_i weights[i] ||M_i - M_i R^T R||_F^2 at every rank.

    It is the right singular basis of the matrices stacked one above the other (the paper's LJSVD), from the eigenvectors of the smaller
    of the stack's two Gram matrices: the paper's code takes the whole SVD of the stack, which is n layers tall.
    """
    gram = sum(w * m.mT @ m for w, m in zip(weights, matrices, strict=True))
    assert isinstance(gram, Tensor)
    return _leading(gram, rank).mT.contiguous()


def common_left(matrices: Sequence[Tensor], weights: Sequence[float], rank: int, moments: Sequence[Tensor] | None = None) -> Tensor:
    """L [groups, m, rank] with orthonormal columns, best first, that minimises sum_i weights[i] ||M_i - L L^T M_i||_F^2 (RJSVD).

    With the moments C_i of the inputs that each matrix reads: of E||(M_i - L L^T M_i) x||^2, by the same argument as
    ``basis.principal_basis``, since every M_i keeps a factor of its own on the inputs' side. What no input excites is ordered plainly.
    """
    gram = sum(w * m @ m.mT for w, m in zip(weights, matrices, strict=True))
    assert isinstance(gram, Tensor)
    if moments is None:
        return _leading(gram, rank)
    outputs = [m @ c @ m.mT for m, c in zip(matrices, moments, strict=True)]
    energies = [float(o.diagonal(dim1=1, dim2=2).sum()) for o in outputs]
    seen = sum(o / e for o, e in zip(outputs, energies, strict=True) if e > 0)
    return _leading(seen + SILENT * gram if isinstance(seen, Tensor) else gram, rank)


def common_right_of(matrices: Sequence[Tensor], weights: Sequence[float], rank: int, moment: Tensor) -> Tensor:
    """As ``common_right``, for inputs of one moment [groups, n, n]: R^T R is a projection in that moment's metric, its rows are not
    orthonormal. The whitened stack's right singular vectors, mapped back (SVD-LLM, arXiv 2403.07378)."""
    gram = sum(w * m.mT @ m for w, m in zip(weights, matrices, strict=True))
    assert isinstance(gram, Tensor)
    spread = moment.diagonal(dim1=1, dim2=2).mean(dim=1)[:, None, None]
    ridge = WHITENING * torch.where(spread > 0, spread, 1.0) * torch.eye(moment.shape[-1], dtype=moment.dtype)
    root = torch.linalg.cholesky((moment + moment.mT) / 2 + ridge)
    vectors = _leading(root.mT @ gram @ root, rank)
    right = torch.linalg.solve_triangular(root, vectors.mT.contiguous(), upper=False, left=False)
    unit: Tensor = right / right.norm(dim=-1, keepdim=True)
    return unit


def both(
    matrices: Sequence[Tensor], weights: Sequence[float], left_rank: int, right_rank: int, sweeps: int
) -> tuple[Tensor, Tensor, list[float]]:
    """R [groups, left_rank, n] and L [groups, m, right_rank] of M_i = A_i R + L B_i, and the objective after every half-step.

    Alternates as the paper's Algorithm 3 does, the right-shared part first and A_i R = 0 at the start. Each half is the exact optimum with
    the other held, so the objective never rises; sweeps end where one gains next to nothing.
    """
    right = matrices[0].new_zeros(len(matrices[0]), left_rank, matrices[0].shape[2])
    ours = [m.new_zeros(*m.shape[:2], left_rank) for m in matrices]
    left = matrices[0].new_zeros(len(matrices[0]), matrices[0].shape[1], right_rank)
    objective: list[float] = []

    def told(rest: Sequence[Tensor], kept: Sequence[Tensor]) -> None:
        lost = (float((r.square().sum() - k.square().sum()).clamp(min=0)) for r, k in zip(rest, kept, strict=True))
        objective.append(sum(w * e for w, e in zip(weights, lost, strict=True)))

    for _ in range(sweeps):
        rest = [m - a @ right for m, a in zip(matrices, ours, strict=True)]
        left = common_left(rest, weights, right_rank)
        theirs = [left.mT @ r for r in rest]
        told(rest, theirs)
        rest = [m - left @ b for m, b in zip(matrices, theirs, strict=True)]
        right = common_right(rest, weights, left_rank)
        ours = [r @ right.mT for r in rest]
        told(rest, ours)
        if len(objective) > 2 and objective[-3] - objective[-1] <= SETTLED * objective[-1]:
            break
    return right, left, objective


def _leading(gram: Tensor, rank: int) -> Tensor:
    """The eigenvectors of the largest eigenvalues, [groups, side, rank], each with its largest entry positive."""
    _, vectors = torch.linalg.eigh((gram + gram.mT) / 2)
    leading: Tensor = vectors.flip(-1)[..., :rank]
    largest = leading.gather(-2, leading.abs().argmax(dim=-2, keepdim=True))
    return leading * torch.where(largest < 0, -1.0, 1.0)
