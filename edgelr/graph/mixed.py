"""Mixed precision: which values are on the integer grid and which in float, with every boundary between them a node."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from edgelr.graph.ir import Graph, Node
from edgelr.graph.ops import NO_CLAMP, Dequantize, GlobalMean, Quantize, Requantize
from edgelr.graph.ops.base import activation
from edgelr.vocabulary import Kept

MOVES = "it only moves values that are in float"


def necessary(graph: Graph, formats: tuple[str, ...] = ("tflite", "onnx")) -> dict[str, Kept]:
    """The operations that none of the formats' runtimes computes on integers, with the first one's reason."""
    kept = {}
    for node in graph.nodes:
        reasons = [node.op.float_reason(f) for f in formats]  # type: ignore[arg-type]
        if all(reasons):
            kept[node.name] = Kept("float", "necessity", reasons[0])
    return kept


def mixed(graph: Graph, kept: Mapping[str, Kept]) -> tuple[Graph, dict[str, Kept], frozenset[str]]:
    """The graph with a Dequantize ("VALUE/float") or Quantize ("VALUE/grid") at each boundary; what is kept; the values in float.

    Operations that only move values are in float where all their inputs are. The input is in float where only operations in float
    read it. A bound that no file format fuses into an operation in float becomes a node of its own.
    """
    kept = dict(kept)
    floats = {s.before for s in graph.states}
    if _read_in_float_only(graph, graph.input, kept):
        floats.add(graph.input)
    nodes: list[Node] = []
    made: set[str] = set()
    for node in graph.nodes:
        if node.name not in kept and node.op.tied and node.inputs and floats.issuperset(node.inputs):
            kept[node.name] = Kept("float", "necessity", MOVES)
        in_float = node.name in kept
        inputs = []
        for value in node.inputs:
            if (value in floats) != in_float:
                boundary = f"{value}/float" if in_float else f"{value}/grid"
                if boundary not in made:
                    made.add(boundary)
                    nodes.append(Node(boundary, Dequantize() if in_float else Quantize(), (value,)))
                    if in_float:
                        floats.add(boundary)
                value = boundary
            inputs.append(value)
        node = replace(node, inputs=tuple(inputs))
        clamp = node.op.clamp
        if in_float:
            floats.add(node.name)
            fused = activation(clamp) != "NONE" and not isinstance(node.op, GlobalMean)  # MEAN fuses no bound at all
            if clamp != NO_CLAMP and not fused and not isinstance(node.op, Requantize):
                inner = f"{node.name}/unbounded"
                nodes.append(Node(inner, replace(node.op, clamp=NO_CLAMP), node.inputs))  # type: ignore[type-var]
                floats.add(inner)
                kept[inner], kept[node.name] = kept[node.name], replace(kept[node.name], numbers="float")
                node = Node(node.name, Requantize(clamp), (inner,))
        nodes.append(node)
    return Graph.build(graph.input, graph.shapes[graph.input], nodes, graph.output, graph.states), kept, frozenset(floats)


def _read_in_float_only(graph: Graph, value: str, kept: Mapping[str, Kept]) -> bool:
    """Whether everything that reads a value, past operations that only move it, computes in float."""
    readers = graph.users()[value]
    return value != graph.output and bool(readers) and all(
        n.name in kept or (n.op.tied and len(n.inputs) == 1 and _read_in_float_only(graph, n.name, kept)) for n in readers)
