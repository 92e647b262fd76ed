"""Layers that are to have a factor in common, as the one matrix whose rank training lowers."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from edgelr.training.method import Aim, Matrix, matrices
from edgelr.vocabulary import Plan


@dataclass(frozen=True, eq=False)
class Stacked:
    """An ``Aim``: the matrices of a group beside each other, of rank r exactly where all have a factor of rank r in common.

    "left" has the first factor of each pair in common, the matrices' row space: they are stacked by rows, [groups, layers m, n]. "right"
    has the column space: [groups, m, layers n]. Each layer is divided by its norm at the start, as joint decomposition counts it
    (arXiv 2107.04386, and factorize.joint): the layers with the largest weights don't decide alone.
    """

    members: tuple[Matrix, ...]
    side: Literal["left", "right"]
    rank: int
    norms: tuple[float, ...]

    def view(self) -> Tensor:
        even = [m.view() / norm for m, norm in zip(self.members, self.norms, strict=True)]
        return torch.cat(even, dim=1 if self.side == "left" else 2)


def aims(net: nn.Module, plan: Plan) -> tuple[Aim, ...]:
    """What is to have a low rank under ``plan``: the matrix of each layer, and one for each group with a factor in common.

    Layers with a part of both factors in common are summed of two pairs: what bounds their ranks is each one's own matrix.
    """
    found: list[Aim] = []
    groups: dict[tuple[str, Literal["left", "right"]], list[Matrix]] = {}
    for matrix in matrices(net, plan):
        share = plan[matrix.name].share
        if share is None or share.side == "both":
            found.append(matrix)
        else:
            groups.setdefault((share.group, share.side), []).append(matrix)
    for (_, side), members in groups.items():
        norms = tuple(float(m.weight.detach().norm()) or 1.0 for m in members)
        found.append(Stacked(tuple(members), side, members[0].rank, norms))
    return tuple(found)
