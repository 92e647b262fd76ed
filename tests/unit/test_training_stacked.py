"""Groups with a factor in common, as training sees them: one matrix, of the rank that the factor can have."""
from __future__ import annotations

from typing import Literal

import pytest
import torch
from shared_sample import GROUPS, residual
from torch import Tensor, nn

from edgelr.factorize import decompose_group, named_layers
from edgelr.training import Bsr, BsrSettings, aims, matrices
from edgelr.training.method import Matrix
from edgelr.training.stacked import Stacked
from edgelr.vocabulary import Choice, Plan, Share

RANK = 5
Side = Literal["left", "right"]


def plan(side: Literal["left", "right", "both"]) -> Plan:
    share = {g: Share(g, side, 2 if side == "both" else 0) for g in GROUPS}
    return Plan({m: Choice("spatial", RANK, share[g]) for g, members in GROUPS.items() for m in members} | {"head": Choice("linear", 2)})


def with_a_factor_in_common(net: nn.Module, side: Side) -> None:
    """Weights of one factor times each layer's own, of very different norms."""
    generator = torch.Generator().manual_seed(0)
    for members in GROUPS.values():
        found = [m for m in matrices(net, plan(side)) if m.name in members]
        groups, rows, columns = found[0].view().shape
        shape = (groups, RANK, columns) if side == "left" else (groups, rows, RANK)
        common = torch.randn(shape, generator=generator)
        for i, matrix in enumerate(found):
            if side == "left":
                made = torch.randn(groups, rows, RANK, generator=generator) @ common
            else:
                made = common @ torch.randn(groups, RANK, columns, generator=generator)
            matrix.write(100.0**i * made)


def stacks(net: nn.Module, side: Side) -> list[Stacked]:
    return [a for a in aims(net, plan(side)) if isinstance(a, Stacked)]


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_group_s_matrix_has_the_rank_of_the_common_factor(side: Side) -> None:
    net = residual()
    assert all(int(torch.linalg.matrix_rank(s.view()[0])) > RANK for s in stacks(net, side))
    with_a_factor_in_common(net, side)
    assert [int(torch.linalg.matrix_rank(s.view()[0].detach())) for s in stacks(net, side)] == [RANK, RANK]
    other: Side = "right" if side == "left" else "left"
    assert all(int(torch.linalg.matrix_rank(s.view()[0].detach())) > RANK for s in stacks(net, other)), "the wrong side shows"


def test_layers_count_alike_whatever_their_norm() -> None:
    net = residual()
    with_a_factor_in_common(net, "left")
    for stack in stacks(net, "left"):
        rows = stack.view().shape[1] // len(stack.members)
        norms = [float(part.norm()) for part in stack.view().detach().split(rows, dim=1)]
        assert norms == pytest.approx([1.0] * len(norms), rel=1e-5)


def test_layers_that_share_nothing_or_a_part_of_both_sides_stay_alone() -> None:
    found = aims(residual(), plan("both"))
    assert all(isinstance(a, Matrix) for a in found) and len(found) == 7
    alone = [a for a in aims(residual(), plan("left")) if isinstance(a, Matrix)]
    assert [a.name for a in alone] == ["head"]


@pytest.mark.parametrize("side", ["left", "right"])
def test_descending_the_penalty_leaves_a_factor_in_common(side: Side) -> None:
    """What the joint decomposition then loses is a small part of what it lost before."""
    net = residual()

    def lost() -> float:
        total = 0.0
        for members in GROUPS.values():
            layers = {n: named_layers(net)[n] for n in members}
            total += sum(decompose_group(layers, "spatial", side).error(n, RANK) for n in members)
        return total

    before, weights = lost(), [m.weight for m in matrices(net, plan(side))]
    optimizer = torch.optim.SGD(weights, 0.01, 0.9)
    method = Bsr(stacks(net, side), BsrSettings(refresh=5, ramp=0))
    method.start(150, optimizer)
    for step in range(1, 151):
        value = method.penalty()
        assert isinstance(value, Tensor)
        optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        method.after_step(step)
    assert lost() < 0.2 * before
