"""A Scan of an ``.onnx`` file as one operation, with all that turns in it."""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from edgelr.errors import UnsupportedError
from edgelr.latency.loops import Product, Turns
from edgelr.latency.operation import Operation
from edgelr.latency.ort_graph import OrtGraph
from edgelr.latency.ort_words import operation_of
from edgelr.vocabulary import Numbers

_INTEGER = ("DynamicQuantizeMatMul", "MatMulIntegerToFloat", "MatMulInteger")
_PRODUCTS = (*_INTEGER, "MatMul", "FusedMatMul", "Gemm", "FusedGemm")


def loop_of(g: OrtGraph, number: int) -> Operation:
    """The Scan at this place. Raises UnsupportedError for a loop in a loop."""
    node = g.nodes[number]
    body = next(a.g for a in node.attribute if a.type == a.GRAPH)
    if any(a.type == a.GRAPH for n in body.node for a in n.attribute):
        raise UnsupportedError("This .onnx file can't be timed by operator.", f"{g.names[number]}: there is a loop in a loop.")
    states = len(node.input) - next(int(a.i) for a in node.attribute if a.name == "num_scan_inputs")
    taken = tuple(g.shapes[v][1:] if i >= states else g.shapes[v] for i, v in enumerate(node.input))
    turns = Turns.of(g.shapes[node.input[states]][0], _products(g, body))
    numbers: Numbers = "dynamic" if any(n.op_type in _INTEGER for n in body.node) else "float"
    return replace(operation_of(g, number), numbers=numbers, inputs=taken, detail=str(turns))


def _products(g: OrtGraph, body: Any) -> Iterator[Product]:
    shapes = {name: tuple(t.dims) for name, t in g.arrays.items()} | {t.name: tuple(t.dims) for t in body.initializer}
    for node in body.node:
        matrix = shapes.get(node.input[1], ()) if node.op_type in _PRODUCTS else ()
        if len(matrix) == 2:
            yield matrix[::-1] if any(a.name == "transB" and a.i for a in node.attribute) else matrix
