"""Cuts the kernels out of an ``.onnx`` file as ONNX Runtime runs it, each as a small file of its own."""
from __future__ import annotations

from collections.abc import Hashable, Iterator
from functools import partial
from typing import Any

from edgelr.errors import UnsupportedError
from edgelr.latency.operation import Shape
from edgelr.latency.ort_graph import OrtGraph, load
from edgelr.latency.ort_loops import loop_of
from edgelr.latency.ort_words import operation_of
from edgelr.latency.single import Cut


def cut_operators(data: bytes, *, blocked: bool = False) -> Iterator[Cut]:
    """Every kernel of the file in order, with copies of its constants, at batch 1; a Scan with all that turns in it is one.

    ONNX Runtime's own optimisations are done first: a kernel's file is what they leave of it, so that alone it does what it does in the
    network, without changes of layout around it. ``blocked``: with the float layouts for x86-64; such files run there alone. Raises
    ``BadInputError`` if the bytes aren't an ``.onnx`` file that ONNX Runtime takes, ``UnsupportedError`` for an If or a Loop.
    """
    g = OrtGraph(load(data), blocked=blocked)
    for number, node in enumerate(g.nodes):
        if not any(v and v not in g.arrays for v in node.input):
            continue  # done once, when the file is loaded
        name = g.names[number]
        if all(a.type != a.GRAPH for a in node.attribute):
            yield Cut(name, operation_of(g, number), _key(g, node), partial(_alone, g, node))
            continue
        if node.op_type != "Scan":
            raise UnsupportedError("This .onnx file can't be timed by operator.", f"{name} is an operation of type {node.op_type}.")
        operation = loop_of(g, number)
        yield Cut(name, operation, ("Scan", str(operation)), partial(_alone, g, node))


def _alone(g: OrtGraph, node: Any) -> bytes:
    import numpy as np
    from onnx import helper

    def value(name: str, shape: Shape | None) -> Any:
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(g.types[name])), shape)

    inside = [n for a in node.attribute if a.type == a.GRAPH for n in a.g.node]
    read = dict.fromkeys(v for v in (*node.input, *(v for n in inside for v in n.input)) if v)  # a body reads arrays from outside
    inputs = [value(v, g.shapes[v]) for v in dict.fromkeys(node.input) if v and v not in g.arrays]
    outputs = [value(o, None) for o in node.output if o]
    graph = helper.make_graph([node], "cut", inputs, outputs, [g.arrays[v] for v in read if v in g.arrays])
    domains = {"", node.domain, *(n.domain for n in inside)}
    imports = [i for i in g.model.opset_import if i.domain in domains]
    return bytes(helper.make_model(graph, opset_imports=imports, ir_version=g.model.ir_version).SerializeToString(deterministic=True))


def _key(g: OrtGraph, node: Any) -> Hashable:
    attributes = sorted((a.name, a.SerializeToString(deterministic=True)) for a in node.attribute)
    place: dict[str, int] = {}
    values = [(place.setdefault(v, len(place)), g.types.get(v), g.shapes.get(v), v in g.arrays) for v in (*node.input, *node.output)]
    layout = [g.arrays[v].raw_data for v in node.input if v in g.arrays and g.types[v] == "int64"]  # pads, axes, shapes
    return repr((node.domain, node.op_type, attributes, values, layout))
