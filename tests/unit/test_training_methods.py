"""What every method of training promises the loop: it goes on from its state to the same bytes, and a state that was taken stays."""
from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

import pytest
import torch
from lowrank_sample import PLAN, batches, trained_net
from torch import Tensor, nn
from torch.nn import functional as F

from edgelr.ranks import Table
from edgelr.training import PLAIN, Bsr, BsrSettings, LcSettings, LearningCompression, Lrpet, LrpetSettings, Method, RankTuning, matrices
from edgelr.training.rank_tuning import RankTuningSettings
from edgelr.vocabulary import DENSE, Candidate, Choice

STEPS, HALF = 8, 5


def priced(size: int) -> tuple[Candidate, ...]:
    choices = (DENSE, *(Choice("channel", r) for r in (2, 6, 10)))
    return tuple(Candidate(c, {"params": float((c.rank or 40) * size)}, 0.0) for c in choices)


ROWS: Table = {"2": priced(10), "5": priced(20)}


def norms(net: nn.Module) -> dict[str, nn.Module]:
    return {"2": net.get_submodule("3"), "5": net.get_submodule("6")}


METHODS: dict[str, Callable[[nn.Module], Method]] = {
    "plain": lambda net: PLAIN,
    "bsr, exponent 1": lambda net: Bsr(matrices(net, PLAN), BsrSettings(1.0, 1, refresh=3)),
    "bsr, exponent 2": lambda net: Bsr(matrices(net, PLAN), BsrSettings(1.0, 2, refresh=4, ramp=1.0)),
    "bsr, a weight of its own": lambda net: Bsr(matrices(net, PLAN)),
    "lrpet": lambda net: Lrpet(matrices(net, PLAN), norms(net), LrpetSettings(every=3)),
    "lrpet, with a tail": lambda net: Lrpet(matrices(net, PLAN), {}, LrpetSettings(every=2, tail=0.3, momentum="keep")),
    "lc": lambda net: LearningCompression(net, ROWS, {"params": 500.0}, {}, LcSettings(4, 0.5, 50.0)),
    "lc, no multipliers": lambda net: LearningCompression(net, ROWS, {"params": 500.0}, {}, LcSettings(3, multipliers=False)),
    "nuclear": lambda net: RankTuning(matrices(net, PLAN), RankTuningSettings(0.01, (0.0, 0.5), every=3, refresh=2)),
}


class Training:
    """A network, its optimiser and a method, step by step."""

    def __init__(self, method: Callable[[nn.Module], Method]) -> None:
        self.net = trained_net().train()
        self.optimizer = torch.optim.SGD(self.net.parameters(), 0.02, 0.9, nesterov=True)
        self.method = method(self.net)
        self.method.start(STEPS, self.optimizer)

    def run(self, first: int, last: int) -> None:
        for step, (x, y) in enumerate(batches().epoch(0), 1):
            if first <= step <= last:
                assert y is not None
                penalty = self.method.penalty()
                loss = F.cross_entropy(self.net(x), y) + (0 if penalty is None else penalty)
                self.optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                self.optimizer.step()
                self.method.after_step(step)


def kept(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """As from a file: in a memory of its own, in rows."""
    return {name: value.detach().clone(memory_format=torch.contiguous_format) for name, value in state.items()}


@pytest.mark.parametrize("name", METHODS)
def test_from_its_state_a_method_goes_on_to_the_same_bytes(name: str) -> None:
    whole, half = Training(METHODS[name]), Training(METHODS[name])
    whole.run(1, STEPS)
    half.run(1, HALF)
    state, weights, momentum = kept(half.method.state()), kept(half.net.state_dict()), copy.deepcopy(half.optimizer.state_dict())
    resumed = Training(METHODS[name])
    resumed.net.load_state_dict(weights)
    resumed.optimizer.load_state_dict(momentum)
    resumed.method.load(state)
    resumed.run(HALF + 1, STEPS)
    for training in (whole, resumed):
        training.method.finish()
    assert all(torch.equal(v, resumed.net.state_dict()[k]) for k, v in whole.net.state_dict().items())
    assert whole.method.state().keys() == resumed.method.state().keys()
    assert all(torch.equal(v, resumed.method.state()[k]) for k, v in whole.method.state().items())


@pytest.mark.parametrize("name", METHODS)
def test_a_state_that_was_taken_stays_what_it_was(name: str) -> None:
    training = Training(METHODS[name])
    training.run(1, HALF)
    taken = training.method.state()
    before = kept(taken)
    training.run(HALF + 1, STEPS)
    training.method.finish()
    assert all(torch.equal(v, before[k]) for k, v in taken.items())
    resumed = Training(METHODS[name])
    resumed.method.load(taken)
    resumed.run(1, STEPS)
    assert all(torch.equal(v, before[k]) for k, v in taken.items())


@pytest.mark.parametrize("name", [n for n in METHODS if n != "plain"])
def test_every_method_changes_what_training_makes(name: str) -> None:
    plain, other = Training(METHODS["plain"]), Training(METHODS[name])
    for training in (plain, other):
        training.run(1, STEPS)
    assert any(not torch.equal(v, other.net.state_dict()[k]) for k, v in plain.net.state_dict().items())
