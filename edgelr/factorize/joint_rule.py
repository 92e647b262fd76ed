"""The uniform ranks of joint matrix decomposition: one rate for all layers, at the parameters that layers factorised alone would have."""
from __future__ import annotations

from collections.abc import Sequence
from math import floor


def plain_rank(rate: float, out_channels: int, in_channels: int, kernel: int = 3) -> int:
    """The rank of a layer that is factorised alone: the rate's share of its output channels, of a 1x1 convolution of its narrower side.

    Chen et al., "Joint Matrix Decomposition for Deep CNN Compression" (arXiv 2107.04386): all counts of the paper follow from it.
    """
    return _whole(rate * (out_channels if kernel > 1 else min(in_channels, out_channels)))


def joint_rate(rate: float, private: Sequence[float], common: float) -> float:
    """The rate at which layers with one factor in common hold as many parameters as they would alone at ``rate``.

    ``private`` are the sides (k1 * in, or k2 * out) of the factors that each layer has of its own, ``common`` that of the common one:
    r sum(p + c) alone, r (sum(p) + c) together. For n squares it is 2n / (n + 1) of the rate; for a bottleneck's 1x1 convolutions
    5n / (4n + 1) or 5n / (n + 4), as in the paper's released code.
    """
    return rate * sum(p + common for p in private) / (sum(private) + common)


def joint_rank(rate: float, layers: int, out_channels: int, *, private: float = 1.0, common: float = 1.0) -> int:
    """The rank of ``layers`` layers of equal shape with one factor in common, ``private`` and ``common`` being the sides' relation."""
    return _whole(joint_rate(rate, [private] * layers, common) * out_channels)


def joint_params(rank: int, private: Sequence[int], common: int) -> int:
    """Weights of a group at a rank: every private factor, and the common one once."""
    return rank * (sum(private) + common)


def _whole(value: float) -> int:
    """Rounded down, but for what floating point took from a whole number; at least 1."""
    return max(1, floor(value + 1e-9))
