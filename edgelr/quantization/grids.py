"""The one grid: how a range becomes a scale and a zero point, and which values must share one."""
from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from edgelr.graph import Graph
from edgelr.graph.ir import Node
from edgelr.graph.ops import NO_CLAMP, Concat, Requantize
from edgelr.vocabulary import Grid

Range = tuple[float, float]
SMALLEST_SCALE = 1e-8  # a tensor that is 0 throughout still needs a scale; products with weight scales must stay normal floats


def grid_of(low: float, high: float) -> Grid:
    """The affine int8 grid over [low, high], which is widened to hold 0 exactly. The scale is a float32."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max(float(np.float32((high - low) / 255)), SMALLEST_SCALE)
    return Grid(float(np.float32(scale)), int(np.clip(np.rint(-128 - low / scale), -128, 127)))


def separated(graph: Graph, floats: Collection[str] = ()) -> Graph:
    """The graph with a Requantize before each concatenation input that can't share its grid with the others; not among ``floats``.

    A concatenation ties its inputs to one grid. An input whose bound is its grid's saturation (a ReLU) keeps its own
    grid unless all inputs have that bound; one whose grid the runtimes fix (sigmoid) always does.
    """
    makers = {n.name: n for n in graph.nodes}

    def origin(value: str) -> Node | None:  # through operations that pass their input's grid on
        while value in makers and makers[value].op.tied and not isinstance(makers[value].op, Concat):
            value = makers[value].inputs[0]
        return makers.get(value)

    nodes: list[Node] = []
    for node in graph.nodes:
        if isinstance(node.op, Concat) and node.name not in floats:
            origins = [origin(i) for i in node.inputs]
            clamps = [o.op.clamp if o else NO_CLAMP for o in origins]
            inputs = []
            for value, maker, clamp in zip(node.inputs, origins, clamps, strict=True):
                fixed = maker is not None and maker.op.fixed is not None
                if fixed or (clamp != NO_CLAMP and any(c != clamp for c in clamps)):
                    nodes.append(Node(f"{node.name}/from/{value}", Requantize(), (value,)))
                    value = nodes[-1].name
                inputs.append(value)
            node = Node(node.name, node.op, tuple(inputs))
        nodes.append(node)
    return Graph.build(graph.input, graph.shapes[graph.input], nodes, graph.output, graph.states)


def tied_groups(graph: Graph, floats: Collection[str] = ()) -> dict[str, str]:
    """The representative of each value not in ``floats``: values with the same one share a grid (pooling, reshape, concatenation …)."""
    parent = {value: value for value in graph.shapes if value not in floats}

    def find(value: str) -> str:
        while parent[value] != value:
            parent[value] = parent[parent[value]]
            value = parent[value]
        return value

    for node in graph.nodes:
        if node.op.tied and node.name in parent:
            for value in node.inputs:
                parent[find(value)] = find(node.name)
    return {value: find(value) for value in parent}


def assign(graph: Graph, ranges: Mapping[str, Range], floats: Collection[str] = ()) -> dict[str, Grid]:
    """A grid for every value of a separated graph but ``floats``, from the ranges that calibration saw.

    A group's range is the union of its members', cut to its members' bounds: the grid's saturation is the bound.
    """
    groups = tied_groups(graph, floats)
    union: dict[str, Range] = {}
    bounds: dict[str, Range] = {}
    fixed: dict[str, Grid] = {}
    for value, group in groups.items():
        low, high = ranges[value]
        a, b = union.get(group, (0.0, 0.0))
        union[group] = min(a, low), max(b, high)
    for node in graph.nodes:
        if node.name in floats:
            continue
        group = groups[node.name]
        if node.op.fixed is not None:
            fixed[group] = node.op.fixed
        must = node.op.range()
        if must is not None:
            union[group] = min(union[group][0], must[0]), max(union[group][1], must[1])
        a, b = bounds.get(group, NO_CLAMP)
        bounds[group] = max(a, node.op.clamp[0]), min(b, node.op.clamp[1])
    grids = {}
    for group in union:
        low, high = bounds.get(group, NO_CLAMP)
        grids[group] = fixed.get(group) or grid_of(max(union[group][0], low), min(union[group][1], high))
    return {value: grids[group] for value, group in groups.items()}
