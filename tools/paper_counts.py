"""Counts of the papers' compressed networks, without weights: parameters and MACs by their rank rules, from edgelr's own counting.

Batch norm is left out of both, as in all these papers: it is folded where a network is deployed.
"""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from paper_nets import ResNet
from torch import nn

from edgelr.factorize import choice_cost
from edgelr.factorize.joint_rule import joint_params, joint_rank, joint_rate, plain_rank
from edgelr.factorize.matrices import matrix_sides, max_rank
from edgelr.models import survey
from edgelr.vocabulary import DENSE, Choice, Layer

Joint = Literal["alone", "left", "right", "right-1"]  # "right-1" has a stage's first layer in its group, "right" has it alone


@dataclass(frozen=True)
class Count:
    """Parameters and multiply-accumulates of one sample."""

    params: int
    macs: int

    def __add__(self, other: Count) -> Count:
        return Count(self.params + other.params, self.macs + other.macs)


def counted(layer: Layer, choice: Choice = DENSE) -> Count:
    return Count(*choice_cost(layer, choice))


def layers_of(network: nn.Module, side: int) -> tuple[Layer, ...]:
    """The layers that count, in the order in which they run, for square images of 3 channels and ``side`` pixels."""
    return tuple(w for w in survey(network.eval(), torch.zeros(1, 3, side, side)) if w.kind != "batchnorm")


def dense(network: nn.Module, side: int) -> Count:
    return sum(map(counted, layers_of(network, side)), Count(0, 0))


def lrpet(network: nn.Module, side: int, goal: float, least: tuple[int, int] = (0, 0)) -> Count:
    """LRPET (Guo et al., arXiv 2204.05566): every convolution, 1x1 ones too, at int(R - R goal) of its full rank R; linear layers dense.

    ``least``: the lowest rank of the first convolution and of the others (VGG-16: 18 and 43).
    """
    count, floor = Count(0, 0), least[0]
    for layer in layers_of(network, side):
        if layer.kind == "conv2d":
            full = max_rank(layer.weight_shape, "channel", 1)
            count += counted(layer, Choice("channel", max(floor, int(full - full * goal))))
            floor = least[1]
        else:
            count += counted(layer)
    return count


def joint(network: ResNet, side: int, rate: float, how: Joint = "alone") -> Count:
    """Joint decomposition (Chen et al., arXiv 2107.04386) of the 3x3 convolutions of stages 3 to 5; stem, stage 2, shortcuts, linear dense.

    A group is the same position in every block of a stage, its rank that of equal parameters at ``rate`` (``joint_rank``). The first
    layer of a stage reads half the channels: it is alone, but in "right-1".
    """
    named = {layer.name: layer for layer in layers_of(network, side)}
    count = Count(0, 0)
    for group in groups(network):
        layers = [named.pop(name) for name in group]
        halves = [w for w in layers if w.weight_shape[1] != w.weight_shape[0]]
        if how != "right-1":
            for layer in halves:
                count += counted(layer, Choice("spatial", _alone(layer, rate)))
            layers = [w for w in layers if w not in halves]
        count += _group(layers, rate, how)
    return sum(map(counted, named.values()), count)


def groups(network: ResNet) -> Iterator[tuple[str, ...]]:
    """The names of the layers at the same position of every block, stage by stage."""
    for at, stage in enumerate(network.stages):
        if at:
            blocks = list(stage.children())
            for position in (n for n, m in blocks[0].body.named_children() if isinstance(m, nn.Conv2d)):  # type: ignore[union-attr]
                yield tuple(f"stages.{at}.{block}.body.{position}" for block in range(len(blocks)))


def joint_ranks(network: ResNet, rate: float) -> list[tuple[int, int]]:
    """(layers, rank) of each group of equal layers, as "left" and "right" have them."""
    found = []
    named = {layer.name: layer for layer in layers_of(network, 32)}
    for group in groups(network):
        equal = [named[n] for n in group if named[n].weight_shape[0] == named[n].weight_shape[1]]
        if len(equal) > 1:
            found.append((len(equal), joint_rank(rate, len(equal), equal[0].weight_shape[0])))
    return found


def _alone(layer: Layer, rate: float) -> int:
    out, channels, kernel, _ = layer.weight_shape
    return plain_rank(rate, out, channels, kernel)


def _group(layers: Sequence[Layer], rate: float, how: Joint) -> Count:
    if how == "alone" or len(layers) < 2:
        return sum((counted(w, Choice("spatial", _alone(w, rate))) for w in layers), Count(0, 0))
    sides = [matrix_sides(w.weight_shape, "spatial", 1) for w in layers]
    left, right = [n for _, n in sides], [m for m, _ in sides]  # the paper's left factor is the first convolution
    private, common = (left, right[0]) if how.startswith("right") else (right, left[0])
    out = layers[0].weight_shape[0]
    rank = int(joint_rate(rate, [p / common for p in private], 1.0) * out + 1e-9)
    macs = sum(counted(w, Choice("spatial", rank)).macs for w in layers)
    return Count(joint_params(rank, private, common), macs)
