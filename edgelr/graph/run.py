"""The graph in float: whole, watched, or only what a changed layer touches."""
from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from edgelr.graph.ir import Graph, Node
from edgelr.graph.ops import Op


def run(graph: Graph, x: Tensor, observe: Callable[[str, Tensor], None] | None = None) -> Tensor:
    """The output for a batch. ``observe`` sees every value once; a value is let go after its last reader."""
    last = {value: node.name for node in graph.nodes for value in node.inputs}
    values = {graph.input: x}
    if observe:
        observe(graph.input, x)
    for node in graph.nodes:
        result = node.op.run(*(values[i] for i in node.inputs))
        if observe:
            observe(node.name, result)
        values[node.name] = result
        for value in set(node.inputs):
            if last[value] == node.name and value != graph.output:
                del values[value]
    return values[graph.output]


def all_values(graph: Graph, x: Tensor) -> dict[str, Tensor]:
    """Every value for a batch: the cache that ``rerun`` starts from."""
    values: dict[str, Tensor] = {}
    run(graph, x, values.__setitem__)
    return values


def downstream(graph: Graph, *changed: str) -> tuple[Node, ...]:
    """The nodes ``changed`` and all nodes that depend on them, in execution order."""
    reached = set(changed)
    nodes = []
    for node in graph.nodes:
        if node.name in reached or reached.intersection(node.inputs):
            reached.add(node.name)
            nodes.append(node)
    return tuple(nodes)


def rerun_from(graph: Graph, cached: Mapping[str, Tensor], value: str, replaced: Tensor) -> Tensor:
    """The output with one value replaced: only what depends on it is computed, from ``cached`` values."""
    fresh = {value: replaced}
    for node in downstream(graph, value):
        if node.name != value:
            fresh[node.name] = node.op.run(*(fresh[i] if i in fresh else cached[i] for i in node.inputs))
    return fresh.get(graph.output, cached[graph.output])


def rerun(graph: Graph, cached: Mapping[str, Tensor], ops: Mapping[str, Op]) -> Tensor:
    """The output with some nodes' operations replaced: only what lies behind them is computed, from ``cached`` values."""
    fresh: dict[str, Tensor] = {}
    for node in downstream(graph, *ops):
        inputs = (fresh[i] if i in fresh else cached[i] for i in node.inputs)
        fresh[node.name] = ops.get(node.name, node.op).run(*inputs)
    return fresh[graph.output] if graph.output in fresh else cached[graph.output]
