"""Rebuilding a network to a plan."""
from __future__ import annotations

from typing import cast

import pytest
import torch
from torch import nn

from edgelr.errors import BadInputError, UsageError
from edgelr.factorize import Decomposition, decompose, rebuild, skeleton
from edgelr.factorize.pairs import LinearPair
from edgelr.vocabulary import Choice, Plan, Scheme


def network() -> nn.Sequential:
    block = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, stride=2), nn.ReLU())
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), block, nn.Flatten(), nn.Linear(128, 10)).eval()


PLAN = Plan({"0": Choice("channel", 4), "2.0": Choice("spatial", 9), "4": Choice("linear", 3), "1": Choice()})


def decompositions(model: nn.Module, plan: Plan) -> dict[tuple[str, Scheme], Decomposition]:
    return {(name, c.scheme): decompose(model.get_submodule(name), c.scheme) for name, c in plan.factorised().items()}


def test_planned_layers_become_pairs_and_the_rest_and_the_source_stay() -> None:
    model = network()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state = torch.get_rng_state()
    small = rebuild(model, PLAN, decompositions(model, PLAN))
    assert torch.equal(state, torch.get_rng_state())
    assert [tuple(p.shape) for p in small.get_submodule("2.0").parameters()] == [(9, 8, 3, 1), (8, 9, 1, 3), (8,)]
    assert {type(m) for m in small.modules()} == {LinearPair, nn.Sequential, nn.Conv2d, nn.ReLU, nn.Flatten, nn.Linear}
    assert not any(m.training for m in small.modules())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())

    x = torch.randn(2, 3, 8, 8)
    dense = network()
    dense.load_state_dict(before)
    with torch.no_grad():
        for (name, _), decomposition in decompositions(model, PLAN).items():
            layer = cast(nn.Conv2d, dense.get_submodule(name))
            layer.weight.copy_(decomposition.product(cast(int, PLAN[name].rank))[0])
    torch.testing.assert_close(small(x), dense(x), rtol=1e-4, atol=1e-5)


def test_a_skeleton_takes_the_state_dict_of_the_rebuilt_network() -> None:
    model, x = network(), torch.randn(2, 3, 8, 8)
    small = rebuild(model, PLAN, decompositions(model, PLAN))
    empty = skeleton(network(), PLAN)
    assert all(not p.any() for p in empty.get_submodule("2.0").parameters())
    empty.load_state_dict(small.state_dict())
    assert torch.equal(empty(x), small(x))


def test_a_dense_plan_gives_a_copy() -> None:
    model = network()
    copy = rebuild(model, Plan(), {})
    assert copy is not model
    assert all(torch.equal(a, b) and a is not b for a, b in zip(copy.parameters(), model.parameters(), strict=True))


def test_a_layer_used_in_two_places_stays_one_layer() -> None:
    shared = nn.Linear(8, 8)
    model = nn.Sequential(shared, nn.ReLU(), shared)
    plan = Plan({"0": Choice("linear", 2)})
    small = cast(nn.Sequential, rebuild(model, plan, decompositions(model, plan)))
    assert isinstance(small[0], nn.Sequential)
    assert small[0] is small[2]


def test_a_network_that_is_one_layer_becomes_the_pair() -> None:
    model, plan = nn.Linear(8, 8), Plan({"": Choice("linear", 2)})
    small = rebuild(model, plan, {("", "linear"): decompose(model, "linear")})
    assert sum(p.numel() for p in small.parameters()) == 2 * 16 + 8


@pytest.mark.parametrize(
    ("name", "choice", "told"),
    [
        ("2.00", Choice("channel", 2), "did you mean '2.0'"),
        ("4", Choice("channel", 2), "it can take linear"),
        ("1", Choice("linear", 2), "ReLU"),
        ("0", Choice("channel", 9), "full rank is 8"),
    ],
)
def test_a_plan_that_does_not_fit_names_the_layer(name: str, choice: Choice, told: str) -> None:
    plan = Plan({name: choice})
    for build in (lambda: rebuild(network(), plan, {}), lambda: skeleton(network(), plan)):
        with pytest.raises(BadInputError) as caught:
            build()
        assert repr(name) in caught.value.what
        assert told in str(caught.value)


def test_a_missing_or_foreign_decomposition_names_the_layer() -> None:
    model, plan = network(), Plan({"4": Choice("linear", 2)})
    with pytest.raises(UsageError, match="'4'"):
        rebuild(model, plan, {})
    with pytest.raises(UsageError, match="'4'"):
        rebuild(model, plan, {("4", "linear"): decompose(nn.Linear(64, 10), "linear")})
