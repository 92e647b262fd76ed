"""Recurrent layers in a captured graph: their factors, the forms that files can give them, and what can be left out."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch

from edgelr.graph.ir import Graph, Node
from edgelr.graph.ops import Concat, Linear, Slice
from edgelr.graph.ops.recurrent import Form, GateMatrix, Recurrent


def layers(graph: Graph) -> dict[str, Recurrent]:
    """The recurrent operations by name, in execution order."""
    return {n.name: n.op for n in graph.nodes if isinstance(n.op, Recurrent)}


def in_form(graph: Graph, form: Form) -> Graph:
    """All recurrent layers in one form (``ops.recurrent.Recurrent``)."""
    return graph.with_ops({name: replace(op, form=form) for name, op in layers(graph).items()})


def factorised(graph: Graph, factors: Mapping[str, tuple[GateMatrix | None, GateMatrix | None]]) -> Graph:
    """Each named layer with its input and its recurrent matrix replaced; None leaves one as it is."""
    found = layers(graph)
    return graph.with_ops({n: replace(found[n], ih=ih or found[n].ih, hh=hh or found[n].hh) for n, (ih, hh) in factors.items()})


def linear_before(graph: Graph) -> Graph:
    """Each low-rank input matrix's right factor as a linear layer NAME/features of its own before the recurrent one: it may be int8."""
    nodes: list[Node] = []
    for node in graph.nodes:
        if isinstance(node.op, Recurrent) and node.op.ih.right is not None and len(node.op.ih.left) == 1:
            before, right = f"{node.name}/features", node.op.ih.right
            nodes.append(Node(before, Linear(right, torch.zeros(right.shape[0])), node.inputs))
            node = Node(node.name, replace(node.op, ih=GateMatrix(node.op.ih.left)), (before,))
        nodes.append(node)
    return Graph.build(graph.input, graph.shapes[graph.input], nodes, graph.output, graph.states)


def trimmed(graph: Graph) -> Graph:
    """The graph where a recurrent layer of which only the last step is read gives that step alone, so that no file keeps the others.

    Last is the one that is run last. A part of a concatenation along the same axis is taken from the input that it lies in.
    """
    graph = _past_concatenations(graph)
    users, instead, changed = graph.users(), {}, {}
    for name, op in layers(graph).items():
        time = graph.shapes[name][0]
        start = 0 if op.reverse else time - 1
        readers = [n.op for n in users[name]]
        if not op.last and readers and name != graph.output and time > 1 and all(
                isinstance(r, Slice) and (r.axis, r.start, r.stop, r.step) == (0, start, start + 1, 1) for r in readers):
            changed[name] = replace(op, last=True)
            instead.update({n.name: name for n in users[name]})
    return _rewired(graph, changed, instead)


def _past_concatenations(graph: Graph) -> Graph:
    instead: dict[str, str] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        source = next((n for n in nodes if n.name == node.inputs[0]), None)
        joined = source is not None and isinstance(source.op, Concat) and isinstance(node.op, Slice) and source.op.axis == node.op.axis
        if joined and isinstance(node.op, Slice) and node.op.step == 1 and source is not None:
            at = 0
            for value in source.inputs:
                length = graph.shapes[value][node.op.axis]
                start, stop = node.op.start - at, node.op.stop - at
                if start >= 0 and stop <= length:
                    if (start, stop) == (0, length):
                        instead[node.name] = value
                    else:
                        node = Node(node.name, replace(node.op, start=start, stop=stop), (value,))
                    break
                at += length
        nodes.append(node)
    return _rewired(replace(graph, nodes=tuple(nodes)), {}, instead)


def _rewired(graph: Graph, changed: Mapping[str, Recurrent], instead: Mapping[str, str]) -> Graph:
    def final(value: str) -> str:
        while value in instead:
            value = instead[value]
        return value

    nodes = [Node(n.name, changed.get(n.name, n.op), tuple(final(i) for i in n.inputs)) for n in graph.nodes if n.name not in instead]
    return Graph.build(graph.input, graph.shapes[graph.input], nodes, final(graph.output), graph.states)
