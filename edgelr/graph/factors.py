"""Moves a plain factor (hard-swish's 1/6) into the weights behind it, where it costs nothing."""
from __future__ import annotations

from dataclasses import replace

from edgelr.graph.ir import Graph, Node
from edgelr.graph.ops import NO_CLAMP, RELU, Conv, GlobalMean, Linear, MaxPool, Mul, Permute, Requantize, Reshape

PASSES_ON = (GlobalMean, MaxPool, Mul, Permute, Requantize, Reshape)  # f(a x) = a f(x) for a > 0, unbounded or under a ReLU


def absorbed(graph: Graph) -> Graph:
    """The graph without those factors whose every reader, near or far, has weights that take them."""
    for name in [n.name for n in graph.nodes if _factor(n) is not None]:
        node = graph.node(name)
        value = _factor(node)
        ends = None if value is None else _ends(graph, name)
        if value is not None and ends is not None:
            graph = _without(graph, node, ends, value)
    return graph


def _factor(node: Node) -> float | None:
    """The one positive number that this node multiplies by, if that is all it does."""
    op = node.op
    if not isinstance(op, Conv) or not op.depthwise or op.weight.numel() != op.groups or op.clamp not in (NO_CLAMP, RELU):
        return None
    weight = op.weight.detach().flatten()
    plain = set(op.stride) == {1} and not any(op.pads) and not bool(op.bias.detach().any())
    return float(weight[0]) if plain and bool((weight == weight[0]).all()) and weight[0] > 0 else None


def _ends(graph: Graph, value: str) -> set[str] | None:
    """The weighted nodes in which a factor on ``value`` ends; None if it gets elsewhere too, or would count twice."""
    users, reached, carrying, ends = graph.users(), [value], {value}, set()
    while reached:
        name = reached.pop()
        if name == graph.output:
            return None
        for user in users[name]:
            if isinstance(user.op, Conv | Linear):
                ends.add(user.name)
            elif not isinstance(user.op, PASSES_ON) or user.op.clamp not in (NO_CLAMP, RELU):
                return None
            elif user.name not in carrying:
                carrying.add(user.name)
                reached.append(user.name)
    twice = any(isinstance(n.op, Mul) and carrying.issuperset(n.inputs) for n in graph.nodes)
    return None if twice else ends


def _without(graph: Graph, gone: Node, ends: set[str], value: float) -> Graph:
    """The factor's node left out (with a reshape on either side of it that undo each other), its value in the ends' weights."""
    before = next((n for n in graph.nodes if n.name == gone.inputs[0]), None)
    instead = {gone.name: gone.inputs[0]}
    if before is not None and isinstance(before.op, Reshape):
        origin = before.inputs[0]
        back = [n.name for n in graph.users()[gone.name] if isinstance(n.op, Reshape) and n.op.target == graph.shapes[origin]]
        instead.update(dict.fromkeys(back, origin))
    nodes = []
    for node in graph.nodes:
        if node.name not in instead:
            op = replace(node.op, weight=node.op.weight * value) if isinstance(node.op, Conv | Linear) and node.name in ends else node.op
            nodes.append(Node(node.name, op, tuple(instead.get(i, i) for i in node.inputs)))
    return Graph.build(graph.input, graph.shapes[graph.input], nodes, graph.output)
