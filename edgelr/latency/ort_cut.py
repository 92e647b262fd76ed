"""Cuts the kernels of an ``.onnx`` file out of it, each as a small file of its own."""
from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from functools import partial
from typing import Any

from edgelr.errors import UnsupportedError
from edgelr.export.computing import Computing
from edgelr.export.operators import operators
from edgelr.latency.cut import Cut
from edgelr.latency.ort_graph import OrtGraph, load, scan_body, scan_states
from edgelr.latency.ort_groups import Group, groups
from edgelr.latency.ort_words import operation_of
from edgelr.vocabulary import Numbers


def cut_operators(data: bytes) -> Iterator[Cut]:
    """Every group of nodes that ONNX Runtime computes in one kernel, in order, with copies of their constants, at batch 1.

    On integers a group goes from integer values to integer values: what stands between its DequantizeLinears and its QuantizeLinear. A
    Scan's body comes behind it. A node without a name is called by the next named one that it serves: NAME/part. Raises
    ``BadInputError`` if the bytes aren't an ``.onnx`` file, ``UnsupportedError`` if a shape can't be told or it has an If or a Loop.
    """
    model = load(data)
    numbers = Computing(operators(data, "onnx"), "onnx").numbers
    yield from _cuts(OrtGraph(model), numbers, "", 1)


def _cuts(g: OrtGraph, numbers: Sequence[Numbers], owner: str, times: int) -> Iterator[Cut]:
    names = _names(g, owner)
    for group in groups(g, numbers):
        node, operation = g.nodes[group.main], operation_of(g, group)
        inner = {a.name: a.g for a in node.attribute if a.type == a.GRAPH}
        name = names[group.main] or operation.op
        if not inner:
            yield Cut(name, operation, _key(g, group), times, partial(_alone, g, group))
            continue
        if node.op_type != "Scan":
            raise UnsupportedError("This .onnx file can't be timed by operator.", f"{name} is an operation of type {node.op_type}.")
        count = times * g.shape(node.input[scan_states(node)])[0]
        yield Cut(name, operation, ("Scan", str(operation)), count, partial(_empty_turn, g, group))
        body = OrtGraph(scan_body(g.model, node, g.shapes))
        inside: list[Numbers] = ["dynamic" if n.op_type.startswith("DynamicQuantize") else "float" for n in body.nodes]
        yield from _cuts(body, inside, name.removesuffix("/part"), count)


def _names(g: OrtGraph, owner: str) -> list[str]:
    named = [n.name or (n.output[0].removesuffix("/q") if n.op_type == "QuantizeLinear" else "") for n in g.nodes]
    serves = list(named)
    for n in reversed(range(len(named))):
        if not named[n]:
            readers = [r for o in g.nodes[n].output for r in g.readers[o]]
            serves[n] = serves[readers[0]].removesuffix("/part") if readers else owner
    return [name or (f"{base}/part" if base else "") for name, base in zip(named, serves, strict=True)]


def _needed(g: OrtGraph, group: Group) -> list[int]:
    """A group's nodes, and those that make its stored arrays."""
    needed = set(group.nodes)
    waiting = list(group.nodes)
    while waiting:
        for value in _read(g.nodes[waiting.pop()]):
            maker = g.makers.get(value)
            if maker is not None and value in g.stored and maker not in needed:
                needed.add(maker)
                waiting.append(maker)
    return sorted(needed)


def _read(node: Any) -> list[str]:
    """All values that a node reads, those of graphs inside it too."""
    inner = [a.g for a in node.attribute if a.type == a.GRAPH]
    own = {v for graph in inner for n in graph.node for v in n.output} | {v.name for graph in inner for v in graph.input}
    return [v for v in (*node.input, *(v for graph in inner for n in graph.node for v in _read(n))) if v and v not in own]


def _alone(g: OrtGraph, group: Group) -> bytes:
    nodes = [g.nodes[n] for n in _needed(g, group)]
    return _file(g, nodes, [(v, g.shape(v)) for v in group.inputs], group.outputs)


def _file(g: OrtGraph, nodes: Sequence[Any], inputs: Sequence[tuple[str, Sequence[int]]], outputs: Sequence[str]) -> bytes:
    from onnx import helper

    used = dict.fromkeys(v for n in nodes for v in _read(n) if v in g.arrays)
    entries = [helper.make_tensor_value_info(v, g.types[v], list(shape)) for v, shape in inputs]
    results = [helper.make_tensor_value_info(v, g.types[v], None) for v in outputs]
    graph = helper.make_graph(list(nodes), "cut", entries, results, [g.arrays[v] for v in used])
    model = helper.make_model(graph, opset_imports=list(g.model.opset_import), ir_version=g.model.ir_version)
    return bytes(model.SerializeToString(deterministic=True))


def _key(g: OrtGraph, group: Group) -> Hashable:
    parts = []
    place: dict[str, int] = {}
    for n in _needed(g, group):
        node = g.nodes[n]
        attributes = [(a.name, a.SerializeToString(deterministic=True)) for a in node.attribute]
        values = [(place.setdefault(v, len(place)), g.types.get(v), g.shapes.get(v), v in g.arrays) for v in (*node.input, *node.output)]
        layout = [g.arrays[v].raw_data for v in node.input if v in g.arrays and g.types[v] == 7]  # pads, axes, shapes
        parts.append((node.op_type, node.domain, attributes, values, layout))
    return repr(parts)


def _empty_turn(g: OrtGraph, group: Group) -> bytes:
    """The Scan alone, of one turn that hands its states on and gives the first of them out."""
    from onnx import helper

    node = type(g.nodes[group.main])()
    node.CopyFrom(g.nodes[group.main])
    body = next(a.g for a in node.attribute if a.type == a.GRAPH)
    states = scan_states(node)
    del body.node[:]
    for i, value in enumerate(body.output):
        source = body.input[i if i < states else 0].name
        body.node.append(helper.make_node("Identity", [source], [value.name]))
    inputs = [(v, g.shape(v) if i < states else (1, *g.shape(v)[1:])) for i, v in enumerate(node.input)]
    return _file(g, [node], inputs, group.outputs)
