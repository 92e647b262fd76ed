"""The network as a small graph of edge operations: plain data, in execution order.

Shapes leave the batch out and follow torch's order (channels first); each writer decides its own layout.
"""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from edgelr.graph.ops.base import Op, Shape


@dataclass(frozen=True)
class Node:
    """One operation at one place: ``name`` is unique and, where a module owns it, starts with the module's path."""

    name: str
    op: Op
    inputs: tuple[str, ...]

    @property
    def output(self) -> str:
        """The value that this node makes bears the node's name."""
        return self.name


@dataclass(frozen=True)
class State:
    """A float value that is carried from call to call: a call reads it as ``before``, zeros at first, and leaves ``after`` for the next."""

    before: str
    after: str
    shape: Shape


@dataclass(frozen=True)
class Graph:
    """One input, one output, nodes in execution order; ``shapes`` of every value, without the batch. ``states``: a step network's."""

    input: str
    nodes: tuple[Node, ...]
    output: str
    shapes: Mapping[str, Shape]
    states: tuple[State, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "shapes", MappingProxyType(dict(self.shapes)))

    @staticmethod
    def build(name: str, shape: Shape, nodes: list[Node], output: str, states: tuple[State, ...] = ()) -> Graph:
        """Infer every shape, leave out what the output doesn't need, and check that inputs come before their use."""
        shapes: dict[str, Shape] = {name: shape, **{s.before: s.shape for s in states}}
        for node in nodes:
            shapes[node.name] = node.op.shape(*(shapes[i] for i in node.inputs))
        needed = {output, *(s.after for s in states)}
        kept: list[Node] = []
        for node in reversed(nodes):
            if node.name in needed:
                needed.update(node.inputs)
                kept.append(node)
        kept.reverse()
        values = (name, *(s.before for s in states), *(n.name for n in kept))
        return Graph(name, tuple(kept), output, {v: shapes[v] for v in values}, states)

    def users(self) -> dict[str, list[Node]]:
        """Who reads each value, in execution order (the graph's output has no node for it)."""
        readers: dict[str, list[Node]] = {v: [] for v in self.shapes}
        for node in self.nodes:
            for value in dict.fromkeys(node.inputs):
                readers[value].append(node)
        return readers

    def node(self, name: str) -> Node:
        return next(n for n in self.nodes if n.name == name)

    def with_ops(self, ops: Mapping[str, Op]) -> Graph:
        """The same graph with some nodes' operations replaced by ones of the same shapes."""
        return replace(self, nodes=tuple(replace(n, op=ops[n.name]) if n.name in ops else n for n in self.nodes))
