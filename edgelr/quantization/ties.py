"""Weights that several operations have in common, up to a positive gain of each channel: one set of integers, and scales for each."""
from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from edgelr.graph import Graph, IntegerWeights
from edgelr.graph.ops import Weighted

CLOSE = 1e-5  # of a channel's largest weight: float32's rounding of the gain, far below a step of the grid
FEW = 2  # weights of a channel: fewer are one another's multiples by chance


def tied_weights(graph: Graph) -> Iterator[tuple[tuple[str, ...], tuple[Tensor, ...]]]:
    """Operations whose float weights are one another's multiples, channel by channel, and what multiplies the first one's in each: [out].

    That is how a factor in common (joint matrix decomposition) or a tied weight of the network looks in its graph: nothing else has to be
    told from room to room. A channel that is 0 throughout fits any.
    """
    shapes: dict[tuple[int, ...], list[tuple[str, Tensor]]] = {}
    for node in graph.nodes:
        if isinstance(node.op, Weighted) and node.op.weight[0].numel() > FEW:
            shapes.setdefault(tuple(node.op.weight.shape), []).append((node.name, node.op.weight.detach().flatten(1)))
    for alike in shapes.values():
        alike.sort(key=lambda entry: -int(entry[1].any(1).sum()))  # a channel that is 0 in one may not be in another
        while len(alike) > 1:
            name, weight = alike.pop(0)
            peak, at = weight.abs().amax(1), weight.abs().argmax(1, keepdim=True)
            held = weight.gather(1, at)[:, 0]
            gains = {n: torch.where(peak > 0, w.gather(1, at)[:, 0] / held, 1.0) for n, w in alike}
            same = [n for n, w in alike if bool((gains[n] >= 0).all()) and bool((gains[n] > 0).any())
                    and bool(((w - gains[n][:, None] * weight).abs() <= CLOSE * (gains[n] * peak)[:, None]).all())]
            alike[:] = [(n, w) for n, w in alike if n not in same]
            if same:
                yield (name, *same), (torch.ones_like(peak), *(gains[n] for n in same))


def stored_once(graph: Graph, weights: Mapping[str, IntegerWeights]) -> dict[str, IntegerWeights]:
    """The integer weights with those of tied operations made equal: rounding a multiple may have moved one by a step. Scales stay, each
    operation's own: where one is wider than its weights need (a large bias on a channel that is next to nothing), that channel has
    the others' integers, its weights being within a thousandth of its bias all the same."""
    made = dict(weights)
    for names, _ in tied_weights(graph):
        whole = [n for n in names if n in weights]
        for name in whole[1:]:
            made[name] = replace(made[name], weight=made[whole[0]].weight)
    return made
