"""Which values a .tflite holds channels last, and which as torch has them.

Convolutions, pooling and resizing want their tensors channels last; operations that take any order follow their
neighbours. A value that a reshape flattens for linear layers only stays in its written order: the linear layer's
columns are permuted instead, which costs nothing.
"""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgelr.graph import Graph, Node, Shape
from edgelr.graph.ops import Linear, Permute, Reshape, Softmax


@dataclass(frozen=True)
class Layout:
    """``channels_last``: values so written. ``columns``: flattened values -> the torch position of each written feature."""

    channels_last: frozenset[str]
    columns: Mapping[str, np.ndarray[tuple[int], np.dtype[np.int64]]]


def layout_of(graph: Graph) -> Layout:
    """The layout for a graph."""
    parent = {value: value for value in graph.shapes}

    def find(value: str) -> str:
        while parent[value] != value:
            value = parent[value]
        return value

    for node in graph.nodes:
        if not isinstance(node.op, Reshape | Permute):
            for value in node.inputs:
                parent[find(value)] = find(node.name)
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


def disputed(graph: Graph, layout: Layout) -> Node | None:
    """The first linear layer or softmax that would meet a channels-last tensor it can't take, if any."""
    return next((n for n in graph.nodes if (isinstance(n.op, Linear) and n.name in layout.channels_last)
                 or (isinstance(n.op, Softmax) and n.name in layout.channels_last and n.op.axis != 0)), None)
