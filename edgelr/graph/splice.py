"""Put a factorised layer's two halves into the graph in place of the one operation, without capturing again."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from edgelr.graph.ir import Graph, Node
from edgelr.graph.ops import NO_CLAMP, Conv, Linear, Op


@dataclass(frozen=True, eq=False)
class Halves:
    """A pair's weights in torch's layouts; the first half has no bias, the second has the layer's (corrected) one."""

    scheme: Literal["channel", "spatial", "linear"]
    first: Tensor
    second: Tensor
    bias: Tensor


def spliced(graph: Graph, pairs: Mapping[str, Halves]) -> Graph:
    """The graph with each named layer's node replaced by nodes NAME.0 and NAME.1, as the rebuilt network's capture has them."""
    nodes: list[Node] = []
    renamed: dict[str, str] = {}
    for node in graph.nodes:
        node = replace(node, inputs=tuple(renamed.get(i, i) for i in node.inputs))
        if node.name in pairs:
            first, second = halves_of(node.op, pairs[node.name])
            nodes += [Node(f"{node.name}.0", first, node.inputs), Node(f"{node.name}.1", second, (f"{node.name}.0",))]
            renamed[node.name] = f"{node.name}.1"
        else:
            nodes.append(node)
    return Graph.build(graph.input, graph.shapes[graph.input], nodes, renamed.get(graph.output, graph.output))


def halves_of(op: Op, pair: Halves) -> tuple[Op, Op]:
    """The two operations that take the place of ``op``; stride, pads and dilation go where their axis is worked on."""
    if isinstance(op, Linear):
        return replace(op, weight=pair.first, bias=_zeros(pair.first), clamp=NO_CLAMP), replace(op, weight=pair.second, bias=pair.bias)
    assert isinstance(op, Conv)
    d = len(op.stride)
    if pair.scheme == "channel":
        first = replace(op, weight=pair.first, bias=_zeros(pair.first), clamp=NO_CLAMP)
        return first, Conv(pair.second, pair.bias, (1,) * d, (0,) * 2 * d, (1,) * d, op.groups, op.clamp)
    (sv, sh), (top, left, bottom, right), (dv, dh) = op.stride, op.pads, op.dilation
    vertical = Conv(pair.first, _zeros(pair.first), (sv, 1), (top, 0, bottom, 0), (dv, 1), op.groups)
    return vertical, Conv(pair.second, pair.bias, (1, sh), (0, left, 0, right), (1, dh), op.groups, op.clamp)


def _zeros(weight: Tensor) -> Tensor:
    return torch.zeros(weight.shape[0])
