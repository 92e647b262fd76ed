"""Changes between ONNX's layout and the blocked one that ONNX Runtime's float convolutions have on x86-64."""
from __future__ import annotations

from itertools import product

from edgelr.latency.operation import Operation
from edgelr.latency.table import Table

OPS = ("reorder_input", "reorder_output")
_SIDES, _CHANNELS = (1, 4, 8, 14, 28, 56), (16, 64, 192, 512)
_MOST = 400_000


def reorders() -> tuple[Operation, ...]:
    """Operations for a table of such a processor, beside the general ones."""
    shapes = [(1, side, side, c) for side, c in product(_SIDES, _CHANNELS) if side * side * c <= _MOST]
    return tuple(Operation(op, "float", (shape,), shape) for op in OPS for shape in shapes)


def blocked(table: Table) -> bool:
    """Whether a table is of such a processor: it then has rows of these."""
    return any(operation.op in OPS for operation in table.rows)
