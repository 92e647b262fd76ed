"""Two plain torch layers in a row, with the places for a factorised weight."""
from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from edgelr.factorize.geometry import Geometry
from edgelr.factorize.matrices import pair_weight_shapes
from edgelr.vocabulary import Scheme


class LinearPair(nn.Sequential):
    """Two linear layers in place of one, which modules that read the one's parameters (nn.TransformerEncoderLayer) take for it."""

    @property
    def weight(self) -> Tensor:
        """The product [out_features, in_features]."""
        second = cast(Tensor, self[1].weight)
        gain = getattr(self[1], "gain", None)  # of a weight in common with other layers
        return (second if gain is None else second * gain[:, None]) @ cast(Tensor, self[0].weight)

    @property
    def bias(self) -> Tensor | None:
        return cast("Tensor | None", self[1].bias)


def plain_pair(geometry: Geometry, scheme: Scheme, first: Tensor, second: Tensor, bias: Tensor | None) -> nn.Sequential:
    """Two plain torch layers, children "0" and "1", with these weights (torch's layouts). The bias, where there is one, sits on the second.

    channel: kernel, stride, padding and dilation on the first, then 1x1. spatial: k1 x 1 with the vertical stride, padding and
    dilation, then 1 x k2 with the horizontal ones; both keep the padding mode, which is exact because the vertical step treats each
    column, padded ones too, alike and has no bias. Draws no random numbers.
    """
    pair = _blank_pair(geometry, scheme, second.shape[1], bias is not None)
    with torch.no_grad():
        for parameter, value in zip(pair.parameters(), (first, second) if bias is None else (first, second, bias), strict=True):
            parameter.copy_(value)
    return pair


def _blank_pair(g: Geometry, scheme: Scheme, rank: int, bias: bool) -> nn.Sequential:
    first, second = pair_weight_shapes(g.weight_shape, scheme, g.groups, rank)
    if g.kind == "linear":
        inner = _blank(nn.Linear, g, rank, in_features=first[1], bias=False)
        return LinearPair(inner, _blank(nn.Linear, g, second[0], in_features=rank, bias=bias))
    conv = nn.Conv1d if g.kind == "conv1d" else nn.Conv2d
    middle = g.groups * rank
    into: dict[str, Any] = {"in_channels": g.in_channels, "kernel_size": first[2:], "bias": False, "padding_mode": g.padding_mode}
    out: dict[str, Any] = {"in_channels": middle, "kernel_size": second[2:], "bias": bias}
    if scheme == "spatial":
        (s1, s2), (d1, d2) = g.stride, g.dilation
        p1, p2 = (g.padding, g.padding) if isinstance(g.padding, str) else ((g.padding[0], 0), (0, g.padding[1]))
        into |= {"stride": (s1, 1), "padding": p1, "dilation": (d1, 1)}
        out |= {"stride": (1, s2), "padding": p2, "dilation": (1, d2), "padding_mode": g.padding_mode}
    else:
        into |= {"stride": g.stride, "padding": g.padding, "dilation": g.dilation}
    return nn.Sequential(_blank(conv, g, middle, groups=g.groups, **into), _blank(conv, g, g.out_channels, groups=g.groups, **out))


def _blank(layer: type[nn.Module], geometry: Geometry, outputs: int, **settings: Any) -> nn.Module:
    name = "out_features" if layer is nn.Linear else "out_channels"
    # Starting on "meta" leaves torch's random generator alone: rebuilding must not change what a seed gives later.
    return layer(**{name: outputs}, **settings, dtype=geometry.dtype, device="meta").to_empty(device=geometry.device)
