"""Torch layers with a weight in common: a tied pair, a layer that scales a common weight by channel, and two pairs summed."""
from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgelr.factorize.geometry import Geometry
from edgelr.factorize.joint import SharedPair
from edgelr.factorize.pairs import plain_pair
from edgelr.vocabulary import Scheme


class ScaledConv1d(nn.Conv1d):
    """A convolution whose weight, in common with other layers, is multiplied by ``gain`` [out], which is its own."""

    gain: nn.Parameter

    def forward(self, input: Tensor) -> Tensor:
        return cast(Tensor, self._conv_forward(input, own_weight(self), self.bias))


class ScaledConv2d(nn.Conv2d):
    """As ``ScaledConv1d``."""

    gain: nn.Parameter

    def forward(self, input: Tensor) -> Tensor:
        return cast(Tensor, self._conv_forward(input, own_weight(self), self.bias))


class ScaledLinear(nn.Linear):
    """As ``ScaledConv1d``."""

    gain: nn.Parameter

    def forward(self, input: Tensor) -> Tensor:
        return functional.linear(input, own_weight(self), self.bias)


SCALED: dict[type[nn.Module], type[nn.Module]] = {nn.Conv1d: ScaledConv1d, nn.Conv2d: ScaledConv2d, nn.Linear: ScaledLinear}


class SumOfPairs(nn.ModuleList):
    """Two pairs that read the same and are summed, children "0" and "1"; the first has the bias, if there is one."""

    def forward(self, input: Tensor) -> Tensor:
        return cast(Tensor, self[0](input) + self[1](input))


def own_weight(layer: nn.Module) -> Tensor:
    """The weight that a layer computes with: the common one times its own gain, where it has one."""
    weight = cast(Tensor, layer.weight)
    gain = getattr(layer, "gain", None)
    return weight if gain is None else weight * gain.view(-1, *(1,) * (weight.dim() - 1))


def shared_layer(
    geometry: Geometry, scheme: Scheme, pairs: tuple[SharedPair, ...], bias: Tensor | None, common: dict[int, nn.Parameter]
) -> nn.Module:
    """What stands in for a layer of a group: its pair, or the sum of two, whose common weights are the Parameters of ``common`` by the
    pair's number; what is not yet there is put there, for the group's next layer."""
    made = []
    for number, pair in enumerate(pairs):
        blank = plain_pair(geometry, scheme, pair.first, pair.second, bias if number == 0 else None)
        layer = blank[0 if pair.common == "first" else 1]
        layer.weight = common.setdefault(number, cast(nn.Parameter, layer.weight))
        if pair.common == "second":
            blank[1] = _scaled(layer)
        made.append(blank)
    return made[0] if len(made) == 1 else SumOfPairs(made)


def _scaled(layer: Any) -> nn.Module:
    """A plain layer as one that scales its weight by channel; the Parameters stay the same objects."""
    made = SCALED[type(layer)].__new__(SCALED[type(layer)])
    made.__dict__.update(layer.__dict__)
    made.gain = nn.Parameter(torch.ones(layer.weight.shape[0], dtype=layer.weight.dtype, device=layer.weight.device))
    return made


def last_layers(stand_in: nn.Module) -> tuple[Any, ...]:
    """The layers that give a layer's output: itself, the second of its pair, or those of two summed pairs; the first has the bias."""
    if isinstance(stand_in, SumOfPairs):
        return tuple(cast(nn.Sequential, pair)[-1] for pair in stand_in)
    return (stand_in[-1],) if isinstance(stand_in, nn.Sequential) else (stand_in,)


@torch.no_grad()
def scale_outputs(layers: Iterable[Any], factor: Tensor) -> None:
    """Multiply what ``last_layers`` give, but not their bias, by ``factor`` [out], computed in float64. A common weight stays as it is: its
    layer's own gain takes the factor."""
    for layer in layers:
        of = layer.gain if hasattr(layer, "gain") else layer.weight
        of.copy_((of.double() * factor.double().reshape(-1, *(1,) * (of.dim() - 1))).to(of.dtype))
