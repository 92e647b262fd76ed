"""Parameters and MACs of a choice, in closed form, from the layer's description alone."""
from __future__ import annotations

from math import prod
from typing import Literal

from edgelr.errors import UsageError
from edgelr.factorize.matrices import max_rank, pair_weight_shapes
from edgelr.vocabulary import Choice, Layer, Scheme


def choice_cost(layer: Layer, choice: Choice) -> tuple[int, int]:
    """Parameters and MACs (of one sample) of ``layer`` under ``choice``.

    A gate matrix works once a step. A bias counts as parameters, not as MACs: it starts the accumulator. The first layer of a spatial
    pair runs at the output's height and the input's width. A factor in common with other layers counts whole (``sharing.group_cost``
    counts it once); one in common on the right has a gain of each output channel, which is the layer's own. Raises UsageError where the
    layer's shape doesn't allow the choice.
    """
    bias = layer.weight_shape[0] if layer.bias else 0
    linear = layer.kind in ("linear", "recurrent")
    outputs = prod(layer.out_shape[:-1]) if linear else prod(layer.out_shape[1:])
    if choice.rank is None:
        weights = prod(layer.weight_shape)
        return weights + bias, weights * outputs
    _check_scheme(layer, choice.scheme)
    limit = max_rank(layer.weight_shape, choice.scheme, layer.groups)
    if choice.rank > limit:
        raise UsageError(f"layer {layer.name!r} can't have {choice}", f"its full rank is {limit}", "choose a lower rank")
    first, second = (prod(s) for s in pair_weight_shapes(layer.weight_shape, choice.scheme, layer.groups, choice.rank))
    middle = layer.out_shape[1] * layer.in_shape[2] if choice.scheme == "spatial" else outputs
    gain = layer.weight_shape[0] if choice.share is not None and choice.share.side != "left" else 0
    return first + second + bias + gain, first * middle + second * outputs


def break_even_rank(layer: Layer, scheme: Scheme, cost: Literal["params", "macs"]) -> int:
    """The largest rank at which ``scheme`` costs strictly less than dense; 0 where none does, and never above full rank."""
    _check_scheme(layer, scheme)
    which = 0 if cost == "params" else 1
    bias = layer.weight_shape[0] if layer.bias and cost == "params" else 0
    dense = choice_cost(layer, Choice())[which] - bias
    each = choice_cost(layer, Choice(scheme, 1))[which] - bias
    return min((dense - 1) // each, max_rank(layer.weight_shape, scheme, layer.groups))


def _check_scheme(layer: Layer, scheme: Scheme) -> None:
    fits = {"linear": layer.kind == "linear", "channel": layer.kind in ("conv1d", "conv2d"), "spatial": layer.kind == "conv2d",
            "recurrent": layer.kind == "recurrent", "gates": layer.kind == "recurrent"}
    if not fits.get(scheme, False):
        what = f"layer {layer.name!r} can't be factorised as {scheme!r}"
        raise UsageError(what, f"it is a {layer.kind}", "choose another scheme, or dense")
