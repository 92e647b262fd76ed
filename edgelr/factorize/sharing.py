"""What a choice with a factor in common is made of, what a group of layers costs, and whether a plan's groups hold together."""
from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Literal, cast

from torch import Tensor, nn

from edgelr.errors import BadInputError
from edgelr.factorize.costs import choice_cost
from edgelr.factorize.matrices import pair_weight_shapes
from edgelr.vocabulary import Choice, Layer, Plan


def shared_ranks(choice: Choice) -> tuple[tuple[int, Literal["first", "second"]], ...]:
    """The rank of each pair of a shared choice, and which of its layers the group has in common."""
    assert choice.share is not None and choice.rank is not None
    if choice.share.side == "both":
        return (choice.share.left_rank, "first"), (choice.rank - choice.share.left_rank, "second")
    return ((choice.rank, "first" if choice.share.side == "left" else "second"),)


def common_params(layer: Layer, choice: Choice) -> int:
    """Parameters of a choice that the layer has in common with its group; 0 where it has none."""
    if choice.share is None:
        return 0
    shapes = ((pair_weight_shapes(layer.weight_shape, choice.scheme, layer.groups, rank), common) for rank, common in shared_ranks(choice))
    return sum(prod(pair[0 if common == "first" else 1]) for pair, common in shapes)


def group_cost(layers: tuple[Layer, ...], choice: Choice) -> tuple[int, int]:
    """Parameters and MACs of a group under one choice: a common factor is stored once and works in every layer."""
    costs = [choice_cost(layer, choice) for layer in layers]
    once = sum(common_params(layer, choice) for layer in layers[1:])
    return sum(p for p, _ in costs) - once, sum(m for _, m in costs)


def stored_twice(layers: Mapping[str, Layer], plan: Plan) -> int:
    """Parameters that a sum over a plan's layers counts more than once: all but the first count of each group's common factors."""
    seen: set[str] = set()
    extra = 0
    for name, choice in plan.factorised().items():
        if choice.share is not None:
            extra += common_params(layers[name], choice) if choice.share.group in seen else 0
            seen.add(choice.share.group)
    return extra


def check_groups(plan: Plan, layers: Mapping[str, nn.Module]) -> None:
    """Raises BadInputError, naming the layer, where layers of one group have different choices, or weights of different shapes."""
    first: dict[str, str] = {}
    for name, choice in plan.factorised().items():
        if choice.share is None:
            continue
        share, rank = choice.share, cast(int, choice.rank)
        other = first.setdefault(share.group, name)
        if choice != plan[other]:
            raise BadInputError(f"layers {other!r} and {name!r} of group {share.group!r} have different choices: {plan[other]}, {choice}",
                                "what they have in common has one scheme, rank and side", "give them the same, or another group")
        shapes = [tuple(cast(Tensor, layers[n].weight).shape) for n in (other, name)]
        if shapes[0] != shapes[1]:
            raise BadInputError(f"layers {other!r} and {name!r} can't have a factor in common",
                                f"their weights are {shapes[0]} and {shapes[1]}", "group layers of equal shape")
        if share.side == "both" and not 1 <= share.left_rank < rank:
            raise BadInputError(f"layer {name!r}: a left rank of {share.left_rank} doesn't fit rank {rank}", "both sides need a part",
                                "1 to the rank less 1")
        if choice.scheme in ("recurrent", "gates"):
            raise BadInputError(f"layer {name!r}: a gate matrix can't have a factor in common", "", "take the share out of the plan")
