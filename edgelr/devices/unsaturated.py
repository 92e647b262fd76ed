"""``.onnx`` files for other processors, on one whose int8 kernels saturate: x86-64 without VNNI.

Its kernels multiply u8 by s8 and add two products in 16 bits, which holds weights up to 64. Files for Arm boards have 8-bit weights, and
would compute something else here than there. Products of u8 and u8 are added up in 32 bits: with weights of 128 more, and 128 as their zero
point, a file computes the same numbers everywhere. (ONNX Runtime has that too, as session.x64quantprecision; in 1.31.1 it leaves
out the bodies of Scan, and fails to load some networks.)
"""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

_WIDEST = 64
_ZERO = 128
# Inputs that hold a matrix or kernel of integers, its scale (-1: it has none), and its zero point, which has the scale's shape.
_PLACES = {
    "DequantizeLinear": (0, 1, 2), "DynamicQuantizeMatMul": (1, 2, 3), "MatMulIntegerToFloat": (1, 3, 5), "MatMulInteger": (1, -1, 3),
}  # fmt: skip


def unsaturated(data: bytes) -> bytes:
    """The file with weights beyond 64 as uint8; the same bytes where there are none. Bytes that are no file are given back as they are."""
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        model = onnx.load_from_string(data)
    except DecodeError:
        return data  # the runtime says what is wrong with it
    return bytes(model.SerializeToString(deterministic=True)) if _rewrite(model.graph, {}) else data


def _rewrite(graph: Any, outer: Mapping[str, Any]) -> bool:
    """Whether anything was."""
    known, changed = {**outer, **{t.name: t for t in graph.initializer}}, False
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                changed |= _rewrite(attribute.g, known)
        if node.op_type in _PLACES:
            changed |= _shift(graph, node, known, *_PLACES[node.op_type])
    return changed


def _shift(graph: Any, node: Any, known: Mapping[str, Any], weights: int, scale: int, zero: int) -> bool:
    """A node's weights and their zero point, 128 more; new constants, since others may read the old ones."""
    from onnx import TensorProto, numpy_helper

    stored = known.get(node.input[weights])
    if stored is None or stored.data_type != TensorProto.INT8 or len(stored.dims) < 2:
        return False
    integers = numpy_helper.to_array(stored).astype(np.int16)
    if np.abs(integers).max(initial=0) <= _WIDEST:
        return False
    zeros = known.get(node.input[zero]) if len(node.input) > zero else None
    none = np.zeros(known[node.input[scale]].dims if scale >= 0 else (), np.int16)
    shift = numpy_helper.to_array(zeros).astype(np.int16) if zeros is not None else none
    made = {weights: integers + _ZERO, zero: shift + _ZERO}
    node.input.extend([""] * (zero + 1 - len(node.input)))
    for place, values in made.items():
        name = f"{node.name or node.output[0]}/unsaturated{place}"
        graph.initializer.append(numpy_helper.from_array(values.astype(np.uint8), name))
        node.input[place] = name
    return True
