"""What each of several processes takes of a batch; that they train as one is an integration test."""
from __future__ import annotations

import pytest
import torch

from edgelr.training import ALONE, World, call


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_shares_are_the_batch_and_weigh_what_they_hold(size: int) -> None:
    x, y = torch.arange(14.0).view(7, 2), torch.arange(7)
    shares = [World(rank, size).share((x, y)) for rank in range(size)]
    assert torch.equal(torch.cat([s[0][0] for s in shares]), x)
    assert torch.equal(torch.cat([s[0][1] for s in shares if s[0][1] is not None]), y)
    whole = sum(part * float(batch[0].mean()) for batch, part in shares)
    assert whole == pytest.approx(float(x.mean())) and sum(part for _, part in shares) == pytest.approx(1)


def test_a_batch_smaller_than_the_world_is_everyone_s() -> None:
    batch, part = World(2, 3).share((torch.ones(2, 1), None))
    assert len(batch[0]) == 2 and batch[1] is None and part == pytest.approx(1 / 3)


def test_alone_work_is_just_run() -> None:
    class Mine:
        def run(self, world: World) -> World:
            return world

    assert call(Mine()) == ALONE
