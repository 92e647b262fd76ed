"""How many bytes each choice takes in each format's file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgelr.graph import Graph, Node
from edgelr.graph.ops import Add, Requantize
from edgelr.graph.splice import place_of
from edgelr.pipeline.candidates import Factors
from edgelr.pipeline.files import draft, planned
from edgelr.pipeline.precision import Precision
from edgelr.vocabulary import DENSE, Choice, Format, Plan


def sizes(
    graph: Graph, options: Mapping[str, tuple[Choice, ...]], factors: Factors, formats: Sequence[Format], precision: Precision
) -> dict[tuple[str, Choice], dict[Format, int]]:
    """Bytes of each layer under each choice: counted by writing its operation alone.

    An operation with several layers (a recurrent one) is counted for each of them, the others dense: what a choice saves is right, and
    what all operations don't hold must be counted against the same sums. A group's operations are written in one file, which stores what
    they have in common once; what sums their outputs there is in every choice's bytes alike.
    """
    result = {}
    for name, found in options.items():
        alone = _alone(graph, factors.grouped.members(name))
        for choice in (DENSE, *found):
            written = draft(planned(alone, Plan({name: choice}), factors), formats, precision, apart=name in factors.grouped.groups)
            result[name, choice] = {f: len(data) for f, data in written.items()}
    return result


def _alone(graph: Graph, layers: tuple[str, ...]) -> Graph:
    """A graph of some layers' operations, on one input, their outputs summed. Each but the first reads it from a grid of its own, as in
    the network, where what depends on the input's scale is not stored once."""
    nodes: list[Node] = []
    total, shape = "", None
    for name in layers:
        place = place_of(graph, name)
        assert place is not None
        node = graph.node(place.node)
        shape = shape or graph.shapes[node.inputs[0]]
        own = "input"
        if total:
            own = f"{name}/input"
            nodes.append(Node(own, Requantize((-float(len(nodes)), float(len(nodes)))), ("input",)))
        nodes.append(Node(node.name, node.op, (own,)))
        if total:
            nodes.append(Node(f"{total}/sum", Add(), (total, node.name)))
        total = nodes[-1].name
    assert shape is not None
    return Graph.build("input", shape, nodes, total)
