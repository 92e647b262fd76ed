"""Which values a .tflite holds channels last, and which as torch has them.

Convolutions, pooling and resizing want their tensors channels last; operations that take any order follow their
neighbours. A value that a reshape flattens for linear layers only stays in its written order: the linear layer's
columns are permuted instead, which costs nothing.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from edgelr.graph import Graph, Node, Shape
from edgelr.graph.ops import LayerNorm, Linear, MatMul, Permute, Reshape
from edgelr.graph.ops.recurrent import Recurrent

ROWS = (Linear, LayerNorm, MatMul, Recurrent)  # they work along the last axis as torch has it


@dataclass(frozen=True)
class Layout:
    """``channels_last``: values so written. ``columns``: flattened values -> the torch position of each written feature."""

    channels_last: frozenset[str]
    columns: Mapping[str, np.ndarray[tuple[int], np.dtype[np.int64]]]


def arranged(graph: Graph) -> Graph:
    """The graph with a permutation that changes nothing wherever an operation on the last axis shares a value with a spatial one.

    On its two sides the value may be written in two orders.
    """
    find = _groups(graph)
    spatial, rows = {find(n.name) for n in graph.nodes if n.op.spatial}, [n for n in graph.nodes if isinstance(n.op, ROWS)]
    apart = {n.name for n in rows if find(n.name) in spatial}
    nodes: list[Node] = []
    renamed: dict[str, str] = {}
    for node in graph.nodes:
        inputs = []
        for value in node.inputs:
            if node.name in apart and f"{value}/rows" not in graph.shapes:
                same = Permute(tuple(range(len(graph.shapes[value]))))
                if all(n.name != f"{value}/rows" for n in nodes):
                    nodes.append(Node(f"{value}/rows", same, (value,)))
                value = f"{value}/rows"
            inputs.append(renamed.get(value, value))
        nodes.append(replace(node, inputs=tuple(inputs)))
        if node.name in apart:
            renamed[node.name] = f"{node.name}/places"
            nodes.append(Node(renamed[node.name], Permute(tuple(range(len(graph.shapes[node.name])))), (node.name,)))
    return Graph.build(graph.input, graph.shapes[graph.input], nodes, graph.output, graph.states) if apart else graph


def _groups(graph: Graph) -> Callable[[str], str]:
    """For each value the representative of those that are written in one order: all that operations but moves join."""
    parent = {value: value for value in graph.shapes}

    def find(value: str) -> str:
        while parent[value] != value:
            parent[value] = parent[parent[value]]
            value = parent[value]
        return value

    for node in graph.nodes:
        if not isinstance(node.op, Reshape | Permute):
            for value in node.inputs:
                parent[find(value)] = find(node.name)
    return find


def layout_of(graph: Graph) -> Layout:
    """The layout for a graph, ``arranged`` or not."""
    graph = arranged(graph)
    find = _groups(graph)
    last = {find(n.name) for n in graph.nodes if n.op.spatial}
    channels_last = frozenset(v for v in graph.shapes if find(v) in last and len(graph.shapes[v]) in (2, 3))
    users = graph.users()
    columns = {}
    for node in graph.nodes:
        source = node.inputs[0]
        flattens = isinstance(node.op, Reshape) and source in channels_last and len(node.op.target) == 1
        read_by_linear = bool(users[node.name]) and all(isinstance(u.op, Linear) for u in users[node.name])
        if flattens and read_by_linear and not trivial(graph.shapes[source]):
            columns[node.name] = flattened(graph.shapes[source])
    return Layout(channels_last, columns)


def trivial(shape: Shape) -> bool:
    """Whether channels last and channels first are the same data order: one channel, or one place."""
    return shape[0] == 1 or all(s == 1 for s in shape[1:])


def flattened(shape: Shape) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """For [C, H, W] (or [C, L]): the channels-first position of each element in channels-last order."""
    positions = np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape)
    return np.moveaxis(positions, 0, -1).reshape(-1)
