"""A network rebuilt to a plan: the same network with pairs of plain layers, and recurrent layers of products, for the factorised ones."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from difflib import get_close_matches
from types import MappingProxyType
from typing import cast

import torch
from torch import Tensor, nn

from edgelr.errors import BadInputError, UsageError
from edgelr.factorize.decomposition import Decomposition
from edgelr.factorize.gates import Gates, named_layers
from edgelr.factorize.geometry import Geometry, geometry_of
from edgelr.factorize.joint import JointDecomposition, SharedPair
from edgelr.factorize.matrices import max_rank, pair_weight_shapes
from edgelr.factorize.pairs import plain_pair
from edgelr.factorize.recurrent import FactoredRecurrent
from edgelr.factorize.schemes import schemes_of
from edgelr.factorize.shared import shared_layer
from edgelr.factorize.sharing import check_groups, shared_ranks
from edgelr.vocabulary import Choice, Plan, Scheme

Weights = tuple[Tensor, Tensor, Tensor | None]  # of the first and the second layer, and the bias of the second
SharedWeights = tuple[tuple[SharedPair, ...], Tensor | None]
GroupKey = tuple[str, Scheme, str]  # the group's name, its layers' scheme, and the side of their common factor


def rebuild(
    model: nn.Module,
    plan: Plan,
    decompositions: Mapping[tuple[str, Scheme], Decomposition],
    joint: Mapping[GroupKey, JointDecomposition] = MappingProxyType({}),
) -> nn.Module:
    """A deep copy of ``model`` with each factorised layer of ``plan`` replaced by its pair (an nn.Sequential of "0" and "1"), and each
    nn.LSTM or nn.GRU with factorised gate matrices by a ``FactoredRecurrent``. A factor in common is one Parameter in all its layers.

    ``decompositions`` is keyed by layer name and scheme, ``joint`` by group name, scheme and side. Raises BadInputError, naming the layer,
    where the plan names a layer that the network doesn't have, a scheme that it can't take, a rank above full rank, or a group whose
    layers' choices or shapes differ; UsageError where a decomposition is missing or is of another layer.
    """

    def cut(name: str, layer: nn.Module, choice: Choice) -> Weights:
        decomposition = decompositions.get((name, choice.scheme))
        if decomposition is None:
            what = f"there is no {choice.scheme} decomposition of layer {name!r}"
            raise UsageError(what, "the plan needs it", "decompose the layer first")
        if decomposition.geometry.weight_shape != tuple(cast(Tensor, layer.weight).shape):
            raise UsageError(
                f"the decomposition of layer {name!r} is of another layer",
                f"it is of a weight {decomposition.geometry.weight_shape}, the layer has {tuple(cast(Tensor, layer.weight).shape)}",
                "decompose this network's own layers",
            )
        return decomposition.weights(cast(int, choice.rank))

    def cut_shared(name: str, layer: nn.Module, choice: Choice) -> SharedWeights:
        assert choice.share is not None and choice.rank is not None
        group = joint.get((choice.share.group, choice.scheme, choice.share.side))
        if group is None or name not in group.geometries or group.geometries[name].weight_shape != tuple(cast(Tensor, layer.weight).shape):
            what = f"there is no {choice.scheme} decomposition of layer {name!r} in group {choice.share.group!r}"
            raise UsageError(what, "the plan needs it", "decompose the group first")
        return group.pairs(name, choice.rank, choice.share.left_rank)

    return _replaced(model, plan, cut, cut_shared)


def skeleton(model: nn.Module, plan: Plan) -> nn.Module:
    """The structure that ``rebuild`` gives, its factors holding zeros: to load the state dict of a compressed network into.

    Raises BadInputError as ``rebuild`` does.
    """

    def blank(name: str, layer: nn.Module, choice: Choice) -> Weights:
        return _zeros(geometry_of(layer), choice.scheme, cast(int, choice.rank))

    def blank_shared(name: str, layer: nn.Module, choice: Choice) -> SharedWeights:
        g = geometry_of(layer)
        pairs = [(_zeros(g, choice.scheme, rank), common) for rank, common in shared_ranks(choice)]
        return tuple(SharedPair(first, second, common) for (first, second, _), common in pairs), pairs[0][0][2]

    return _replaced(model, plan, blank, blank_shared)


def _zeros(g: Geometry, scheme: Scheme, rank: int) -> Weights:
    first, second = pair_weight_shapes(g.weight_shape, scheme, g.groups, rank)
    zeros = [torch.zeros(s, dtype=g.dtype, device=g.device) for s in (first, second, (g.out_channels,))]
    return zeros[0], zeros[1], zeros[2] if g.bias else None


def _replaced(
    model: nn.Module,
    plan: Plan,
    cut: Callable[[str, nn.Module, Choice], Weights],
    cut_shared: Callable[[str, nn.Module, Choice], SharedWeights],
) -> nn.Module:
    layers = named_layers(model)
    for name, choice in plan.factorised().items():
        _check(layers, name, choice)
    check_groups(plan, layers)
    copy = deepcopy(model)
    copies = dict(copy.named_modules(remove_duplicate=False))
    stand_ins: dict[str, nn.Module] = {}
    gates: dict[str, dict[str, Weights]] = {}
    common: dict[str, dict[int, nn.Parameter]] = {}
    for name, choice in plan.factorised().items():
        if choice.share is not None:
            ties = common.setdefault(choice.share.group, {})
            stand_ins[name] = shared_layer(geometry_of(layers[name]), choice.scheme, *cut_shared(name, layers[name], choice), ties)
            continue
        weights = cut(name, layers[name], choice)
        if isinstance(layers[name], Gates):
            owner, _, matrix = name.rpartition(".")
            gates.setdefault(owner, {})[matrix] = weights
        else:
            stand_ins[name] = plain_pair(geometry_of(layers[name]), choice.scheme, *weights)
    stand_ins |= {owner: FactoredRecurrent(cast(nn.LSTM | nn.GRU, copies[owner]), factors) for owner, factors in gates.items()}
    for name, stand_in in stand_ins.items():
        stand_in.train(layers[name].training)
        if not name:
            return stand_in
        # A layer that is used in several places is one layer: it stays one.
        for parent in list(copy.modules()):
            for key, child in list(parent._modules.items()):
                if child is copies[name]:
                    setattr(parent, key, stand_in)
    return copy


def _check(layers: Mapping[str, nn.Module], name: str, choice: Choice) -> None:
    if name not in layers:
        near = get_close_matches(name, list(layers), n=1)
        raise BadInputError(
            f"the plan names layer {name!r}, which the network doesn't have",
            "the plan belongs to another network, or the name is misspelt",
            f"did you mean {near[0]!r}?" if near else "use a plan that was made for this network",
        )
    possible, reason = schemes_of(layers[name])
    if choice.scheme not in possible:
        why = reason or f"it can take {' or '.join(possible)}"
        raise BadInputError(f"layer {name!r} can't be factorised as {choice.scheme!r}", why, "correct the plan for this layer")
    geometry = geometry_of(layers[name])
    limit = max_rank(geometry.weight_shape, choice.scheme, geometry.groups)
    if cast(int, choice.rank) > limit:
        raise BadInputError(f"layer {name!r} can't have {choice}", f"its full rank is {limit}", "lower its rank in the plan")
