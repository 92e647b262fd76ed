"""Counts the operators of a written file by the numbers that they compute in; ``accounting`` tells why."""
from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from edgelr.export.accounting import OpRow, accounted, unexplained
from edgelr.export.computing import GRID_CHANGES, Computing
from edgelr.export.operators import operators
from edgelr.export.readback import read
from edgelr.export.written import Format
from edgelr.graph import Graph
from edgelr.graph.ops import Permute, Reshape

__all__ = ["OpAccount", "OpRow", "account", "accounted", "layout_excess", "unexplained"]

TRANSPOSES = {"TRANSPOSE", "Transpose"}
RESHAPES = {"RESHAPE", "Reshape", "SQUEEZE", "Squeeze", "EXPAND_DIMS", "Unsqueeze", "Flatten"}


@dataclass(frozen=True)
class OpAccount:
    """``int8`` + ``dynamic`` + ``float`` + ``other`` are all operators of the file, and so are ``by_type``'s counts; ``other`` is 0.

    Changes of grid and format, and work on indices, count with the operators that they are there for. Of ``int8``, ``joined`` are the
    QuantizeLinear and DequantizeLinear of an .onnx that only say which grid an operator works on. ``layout_ops`` (transposes, reshapes)
    are counted in the first four as well.
    """

    int8: int
    float: int
    other: int
    joined: int
    layout_ops: int
    by_type: Mapping[str, int]
    float_ops: tuple[tuple[str, str], ...]
    layout: tuple[tuple[str, str], ...]
    dynamic: int = 0


def account(data: bytes, format: Format) -> OpAccount:
    """Count a file's operators, from the file alone. Raises BadInputError for malformed bytes."""
    file = operators(data, format)
    numbers = Computing(file, format).numbers
    count = Counter(numbers)
    rows = [(o.name or (o.outputs[0] if format == "onnx" else ""), o.type) for o in file.operators]
    edges = {*file.inputs, *file.outputs}
    joined = sum(format == "onnx" and o.type in GRID_CHANGES and n == "int8" and not edges & {*o.inputs, *o.outputs}
                 for o, n in zip(file.operators, numbers, strict=True))
    return OpAccount(count["int8"], count["float"], 0, joined, sum(t in TRANSPOSES | RESHAPES for _, t in rows),
                     MappingProxyType(dict(sorted(Counter(t for _, t in rows).items()))),
                     tuple(row for row, n in zip(rows, numbers, strict=True) if n == "float" and row[1] not in GRID_CHANGES),
                     tuple(row for row in rows if row[1] in TRANSPOSES | RESHAPES), count["dynamic"])


def layout_excess(graph: Graph, data: bytes, format: Format) -> tuple[tuple[str, str], ...]:
    """Transposes and reshapes of a file, as (name, type), that the captured graph did not ask for.

    A permutation may be written as a transpose or a reshape, a reshape as a reshape only. Raises BadInputError for malformed bytes.
    """
    wanted: dict[str, set[str]] = {n.name: TRANSPOSES | RESHAPES if isinstance(n.op, Permute) else RESHAPES
                                   for n in graph.nodes if isinstance(n.op, Permute | Reshape)}
    named = ((o.name, o.type) for o in read(data, format).operators)
    return tuple((name, kind) for name, kind in named if kind in TRANSPOSES | RESHAPES
                 and kind not in wanted.get(name.removesuffix("/ordered"), set()))
