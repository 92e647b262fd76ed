"""Put a factorised layer's two halves into the graph in place of the one operation, without capturing again."""
from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from edgelr.graph.ir import Graph, Node
from edgelr.graph.ops import NO_CLAMP, Add, Conv, Linear, Op
from edgelr.graph.ops.recurrent import GateMatrix, Recurrent

GATES = re.compile(r"(?:(.*)\.)?weight_(ih|hh)_l(\d+)(_reverse)?")


@dataclass(frozen=True, eq=False)
class Halves:
    """A pair's weights in torch's layouts; the first half has no bias, the second has the layer's (corrected) one.

    Of "gates", the first has the gates' right factors [gates * r, inputs], and the second the left ones [gates * hidden, r].
    ``other`` is a second pair that reads the same and is added (its bias is 0).
    """

    scheme: Literal["channel", "spatial", "linear", "recurrent", "gates"]
    first: Tensor
    second: Tensor
    bias: Tensor
    other: Halves | None = None


@dataclass(frozen=True)
class Place:
    """Where the graph has a layer's weight: a node, and which of its matrices it is."""

    node: str
    part: Literal["weight", "ih", "hh"]


def place_of(graph: Graph, layer: str) -> Place | None:
    """The place of a layer; None where no node has its name. lstm.weight_ih_l0 is the matrix "ih" of the node lstm.l0, or lstm where the
    module has one layer in one direction.
    """
    nodes = {n.name: n.op for n in graph.nodes}
    if layer in nodes:
        return Place(layer, "weight")
    found = GATES.fullmatch(layer)
    if found is None:
        return None
    owner, part, number, reverse = found.groups()
    for name in (f"{owner}.l{number}{reverse or ''}", owner if number == "0" and not reverse else ""):
        if isinstance(nodes.get(name), Recurrent):
            return Place(name, "ih" if part == "ih" else "hh")
    return None


def matrix_of(op: Recurrent, part: str) -> tuple[GateMatrix, Tensor]:
    """The matrix "ih" or "hh" of a recurrent operation, and its bias."""
    return (op.ih, op.bias_ih) if part == "ih" else (op.hh, op.bias_hh)


def with_matrix(op: Recurrent, part: str, matrix: GateMatrix, bias: Tensor) -> Recurrent:
    """The operation with its matrix "ih" or "hh", and that one's bias, replaced."""
    return replace(op, ih=matrix, bias_ih=bias) if part == "ih" else replace(op, hh=matrix, bias_hh=bias)


def spliced(graph: Graph, pairs: Mapping[str, Halves]) -> Graph:
    """The graph with each named layer's node replaced by nodes NAME.0 and NAME.1, as the rebuilt network's capture has them; where two
    pairs are summed by NAME.0.0, NAME.0.1, NAME.1.0, NAME.1.1 and NAME/add.

    A gate matrix is replaced by its factors in the node that it belongs to. A layer that the graph doesn't have changes nothing.
    """
    places = {name: place_of(graph, name) for name in pairs}
    factored: dict[str, Recurrent] = {}
    for name, place in places.items():
        if place is not None and place.part != "weight":
            op = factored.get(place.node) or graph.node(place.node).op
            assert isinstance(op, Recurrent)
            factored[place.node] = with_matrix(op, place.part, factors_of(op, pairs[name]), pairs[name].bias)
    nodes: list[Node] = []
    renamed: dict[str, str] = {}
    for node in graph.nodes:
        node = replace(node, inputs=tuple(renamed.get(i, i) for i in node.inputs))
        if node.name in factored:
            nodes.append(replace(node, op=factored[node.name]))
        elif node.name in pairs:
            nodes += _stand_ins(node, pairs[node.name])
            renamed[node.name] = nodes[-1].name
        else:
            nodes.append(node)
    return Graph.build(graph.input, graph.shapes[graph.input], nodes, renamed.get(graph.output, graph.output))


def _stand_ins(node: Node, pair: Halves) -> list[Node]:
    """The nodes that take a layer's place; the last one gives its output."""

    def chain(name: str, op: Op, halves: Halves) -> list[Node]:
        first, second = halves_of(op, halves)
        return [Node(f"{name}.0", first, node.inputs), Node(f"{name}.1", second, (f"{name}.0",))]

    if pair.other is None:
        return chain(node.name, node.op, pair)
    assert isinstance(node.op, Conv | Linear)
    plain = replace(node.op, clamp=NO_CLAMP)
    summed = [*chain(f"{node.name}.0", plain, pair), *chain(f"{node.name}.1", plain, pair.other)]
    return [*summed, Node(f"{node.name}/add", Add(node.op.clamp), (summed[1].name, summed[3].name))]


def factors_of(op: Recurrent, pair: Halves) -> GateMatrix:
    """The factored matrix of all gates."""
    return GateMatrix(pair.second.chunk(op.gates) if pair.scheme == "gates" else (pair.second,), pair.first)


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
