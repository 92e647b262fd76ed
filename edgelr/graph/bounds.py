"""Moves a bound (ReLU …) to the operation that makes the values, past those that only move them, so that it costs nothing."""
from __future__ import annotations

from dataclasses import replace

from edgelr.graph.ir import Graph, Node
from edgelr.graph.ops import NO_CLAMP, Add, AddConstant, Conv, ConvTranspose, GlobalMean, Linear, Mul, MulConstant, Op, Pad, Requantize


def bounded_by(op: Op, clamp: tuple[float, float]) -> Op | None:
    """The same operation with its output bounded too, where its grid's saturation can be the bound."""
    if isinstance(op, Conv | ConvTranspose | Linear | Add | AddConstant | Mul | MulConstant | GlobalMean | Requantize):
        return replace(op, clamp=(max(op.clamp[0], clamp[0]), min(op.clamp[1], clamp[1])))
    return None


def settled(graph: Graph) -> Graph:
    """The graph with every bound as near to the values' maker as it can go. Repeats until nothing moves."""
    while True:
        users = graph.users()
        makers = {n.name: n for n in graph.nodes}
        for node in graph.nodes:
            if not isinstance(node.op, Requantize) or node.op.clamp == NO_CLAMP:
                continue
            source = makers.get(node.inputs[0])
            if source is None or len(users[source.name]) > 1 or source.name == graph.output:
                continue
            joined = bounded_by(source.op, node.op.clamp)
            if joined is not None:
                graph = _rewritten(graph, {source.name: [replace(source, op=joined)], node.name: []}, {node.name: source.name})
                break
            commutes = not isinstance(source.op, Pad) or node.op.clamp[0] <= source.op.value <= node.op.clamp[1]
            if source.op.tied and commutes:
                before = [Node(f"{node.name}/{i}", node.op, (value,)) for i, value in enumerate(source.inputs)]
                moved = [*before, replace(source, inputs=tuple(b.name for b in before))]
                graph = _rewritten(graph, {source.name: moved, node.name: []}, {node.name: source.name})
                break
        else:
            return graph


def _rewritten(graph: Graph, instead: dict[str, list[Node]], renamed: dict[str, str]) -> Graph:
    nodes = [n for node in graph.nodes for n in instead.get(node.name, [node])]
    nodes = [replace(n, inputs=tuple(renamed.get(i, i) for i in n.inputs)) for n in nodes]
    return Graph.build(graph.input, graph.shapes[graph.input], nodes, renamed.get(graph.output, graph.output))
