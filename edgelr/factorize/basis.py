"""The one decomposition behind every rank: an ordered orthonormal basis of a matrix's outputs."""
from __future__ import annotations

import torch
from torch import Tensor


def principal_basis(matrix: Tensor, moment: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Split M [m, n] into left [m, k] with orthonormal columns and right [k, n] = left^T M, k = min(m, n), best directions first.

    ``left[:, :r] @ right[:r]`` is the best approximation of M of rank r, and ``energies[r:].sum()`` its squared error:

    * without a moment in the Frobenius norm: the singular value decomposition (Eckart & Young 1936);
    * with the moment C [n, n] of the inputs x in E|| (M - M_r) x ||^2 = || (M - M_r) C^1/2 ||_F^2. Its optimum is the truncated SVD
      of the whitened M C^1/2 mapped back by C^-1/2 (SVD-LLM, arXiv 2403.07378; for convolutions Zhang et al., TPAMI 2016). With U its
      left singular vectors that optimum equals U_r U_r^T M, and U are the eigenvectors of the output moment M C M^T. So neither root
      nor inverse of C is formed, a singular C needs no special care, and full rank gives M back whatever C is.

    Directions that the inputs never excite (energy 0) come last, ordered by their plain energy in M. Signs are fixed by making the
    largest entry of each column of ``left`` positive. All float64.
    """
    if moment is None:
        left, singular, _ = torch.linalg.svd(matrix, full_matrices=False)
        left = _signed(left)
        return left, left.T @ matrix, singular.square()
    rows, columns = matrix.shape
    # Inside the span of M's columns the k eigenvectors are a complete basis, so that none is spent outside it.
    outer, core = torch.linalg.qr(matrix) if rows > columns else (None, matrix)
    outputs = core @ moment @ core.T
    energies, vectors = torch.linalg.eigh((outputs + outputs.T) / 2)
    energies, vectors = energies.flip(0).clamp(min=0), vectors.flip(1)
    noise = max(rows, columns) * torch.finfo(torch.float64).eps * energies[0]
    excited = int((energies > noise).sum())
    if excited < len(energies):
        silent = vectors[:, excited:]
        rotation, _, _ = torch.linalg.svd(silent.T @ core, full_matrices=False)
        vectors = torch.cat([vectors[:, :excited], silent @ rotation], dim=1)
        energies = torch.cat([energies[:excited], torch.zeros(len(energies) - excited, dtype=torch.float64)])
    left = _signed(vectors if outer is None else outer @ vectors)
    return left, left.T @ matrix, energies


def relative_tails(energies: Tensor) -> Tensor:
    """Share of the energy beyond each rank: [k + 1], index = rank; 0 throughout where there is no energy at all."""
    total = energies.sum()
    tails = torch.cat([energies.flip(0).cumsum(0).flip(0), torch.zeros(1, dtype=torch.float64)])
    return tails / total if total > 0 else torch.zeros_like(tails)


def middle_scales(right: Tensor, second: Tensor | None, rows: int = 0) -> Tensor:
    """The size of each middle channel, [groups, k]: divide ``right`` by it and multiply ``left`` by it.

    The middle tensor goes through one int8 grid. Noise of a grid step that the largest channel sets, passed on by ``left``, is least
    where all channels have the same range. With the second moment of what ``right`` reads ([groups, n, n]) the size is the channel's
    RMS; without, the square root of the singular value, which gives both factors the same norm.

    A moment of ``rows`` inputs knows at most ``rows`` directions, and the others seem silent only because nothing was seen there: other
    data wake them. So the moment is mixed with inputs of equal energy in every direction, n of them to ``rows`` that were seen (the
    shrinkage of Ledoit & Wolf, J. Multivariate Analysis 2004, with a plain weight). EfficientNet-Lite0's classifier at rank 256, split
    on 64 images: scaled by the bare RMS its middle spans +-1,300 on other images and its int8 logits have 0.9 dB, so 4 and 18.3 dB.
    """
    plain = right.norm(dim=-1)
    if second is None:
        scales = plain.sqrt()
    else:
        n = second.shape[-1]
        evenly = second.diagonal(dim1=1, dim2=2).mean(dim=1, keepdim=True)
        energy = ((right @ second) * right).sum(dim=-1).clamp(min=0) + n / (n + rows) * evenly * plain.square()
        scales = energy.sqrt() if energy.max() > 0 else plain.sqrt()
    return torch.where(scales > 0, scales, 1.0)


def _signed(left: Tensor) -> Tensor:
    largest = left.gather(0, left.abs().argmax(dim=0, keepdim=True))
    return left * torch.where(largest < 0, -1.0, 1.0)
