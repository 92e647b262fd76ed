"""Cuts the kernels out of an ``.onnx`` file as ONNX Runtime runs it, each as a small file of its own."""
from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from edgelr.errors import UnsupportedError
from edgelr.latency.operation import Shape
from edgelr.latency.ort_graph import OrtGraph, load
from edgelr.latency.ort_words import operation_of
from edgelr.latency.single import Cut


def cut_operators(data: bytes, *, blocked: bool = False) -> Iterator[Cut]:
    """Every kernel of the file in order, with copies of its constants, at batch 1; those of a Scan's body behind it.

    ONNX Runtime's own optimisations are done first: a kernel's file is what they leave of it, so that alone it does what it does in the
    network, without changes of layout around it. ``blocked``: with the float layouts for x86-64; such files run there alone. Raises
    ``BadInputError`` if the bytes aren't an ``.onnx`` file that ONNX Runtime takes, ``UnsupportedError`` for an If or a Loop.
    """
    yield from _cuts(load(data), "", 1, blocked, False)


def _cuts(model: Any, owner: str, times: int, blocked: bool, body: bool) -> Iterator[Cut]:
    g = OrtGraph(model, blocked=blocked, owner=owner)
    loops = [n for n in model.graph.node if n.op_type == "Scan"]  # in the file's own order, which the optimiser keeps
    for number, node in enumerate(g.nodes):
        if not any(v and v not in g.arrays for v in node.input):
            continue  # done once, when the file is loaded
        if body and node.op_type == "Identity" and node.output[0] in g.results:
            continue  # a turn's result handed out: part of the loop's own cut
        name, operation = g.names[number], operation_of(g, number)
        if all(a.type != a.GRAPH for a in node.attribute):
            yield Cut(name, operation, _key(g, node), times, partial(_alone, g, node))
            continue
        if node.op_type != "Scan":
            raise UnsupportedError("This .onnx file can't be timed by operator.", f"{name} is an operation of type {node.op_type}.")
        states = _states(node)
        turns = g.shapes[node.input[states]][0]
        taken = tuple(g.shapes[v][1:] if i >= states else g.shapes[v] for i, v in enumerate(node.input))
        operation = replace(operation, inputs=taken, detail=f"turns{turns}")
        yield Cut(name, operation, ("Scan", str(operation)), times, partial(_empty_loop, g, node))
        yield from _cuts(_body(model, loops.pop(0)), name.removesuffix("/part"), times * turns, blocked, True)


def _alone(g: OrtGraph, node: Any) -> bytes:
    inputs = [v for v in dict.fromkeys(node.input) if v and v not in g.arrays]
    return _file(g, node, [(v, g.shapes[v]) for v in inputs], [o for o in node.output if o])


def _file(g: OrtGraph, node: Any, inputs: Sequence[tuple[str, Shape]], outputs: Sequence[str]) -> bytes:
    import numpy as np
    from onnx import helper

    def value(name: str, shape: Shape | None) -> Any:
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(g.types[name])), shape)

    arrays = [g.arrays[v] for v in dict.fromkeys(node.input) if v in g.arrays]
    graph = helper.make_graph([node], "cut", [value(v, s) for v, s in inputs], [value(o, None) for o in outputs], arrays)
    domains = {"", node.domain}
    imports = [i for i in g.model.opset_import if i.domain in domains]
    return bytes(helper.make_model(graph, opset_imports=imports, ir_version=g.model.ir_version).SerializeToString(deterministic=True))


def _key(g: OrtGraph, node: Any) -> Hashable:
    attributes = sorted((a.name, a.SerializeToString(deterministic=True)) for a in node.attribute)
    place: dict[str, int] = {}
    values = [(place.setdefault(v, len(place)), g.types.get(v), g.shapes.get(v), v in g.arrays) for v in (*node.input, *node.output)]
    layout = [g.arrays[v].raw_data for v in node.input if v in g.arrays and g.types[v] == "int64"]  # pads, axes, shapes
    return repr((node.domain, node.op_type, attributes, values, layout))


def _states(node: Any) -> int:
    """How many states a Scan carries from turn to turn; its other inputs are cut into turns."""
    return len(node.input) - next(int(a.i) for a in node.attribute if a.name == "num_scan_inputs")


def _body(model: Any, node: Any) -> Any:
    """A Scan's body as a model of its own, with the stored arrays that it reads from outside."""
    from onnx import helper

    body = next(a.g for a in node.attribute if a.type == a.GRAPH)
    used = {v for n in body.node for v in n.input}
    arrays = [t for t in model.graph.initializer if t.name in used]
    graph = helper.make_graph(list(body.node), "body", list(body.input), list(body.output), arrays)
    return helper.make_model(graph, opset_imports=list(model.opset_import), ir_version=model.ir_version)


def _empty_loop(g: OrtGraph, scan: Any) -> bytes:
    """The Scan alone, of as many turns, each of which hands its states on and gives the first of them out."""
    from onnx import helper

    node = type(scan)()
    node.CopyFrom(scan)
    body, states = next(a.g for a in node.attribute if a.type == a.GRAPH), _states(node)
    del body.node[:]
    del body.value_info[:]
    for i, value in enumerate(body.output):
        value.name = f"out{i}"  # one value may have been two outputs
        body.node.append(helper.make_node("Identity", [body.input[i if i < states else 0].name], [value.name]))
    inputs = [(v, g.shapes[v]) for v in dict.fromkeys(node.input) if v not in g.arrays]
    return _file(g, node, inputs, [o for o in node.output if o])
