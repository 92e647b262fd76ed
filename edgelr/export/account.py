"""Counts the operators of a written file: how many compute on integers, how many in float, how many only move data."""
from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from edgelr.export.readback import read
from edgelr.export.written import Format, WrittenFile, WrittenOperator
from edgelr.graph import Graph
from edgelr.graph.ops import Permute, Reshape

INTEGER = {"int8", "uint8"}
FLOAT = {"float16", "bfloat16", "float32", "float64"}
GRID_CHANGES = {"QUANTIZE", "DEQUANTIZE", "QuantizeLinear", "DequantizeLinear"}
TRANSPOSES = {"TRANSPOSE", "Transpose"}
RESHAPES = {"RESHAPE", "Reshape", "SQUEEZE", "Squeeze", "EXPAND_DIMS", "Unsqueeze", "Flatten"}
BOUNDS = {"Relu", "Clip"}  # in an .onnx these join the operation before: the QuantizeLinear behind them saturates


@dataclass(frozen=True)
class OpAccount:
    """``int8`` + ``float`` + ``other`` + ``joined`` are all operators of the file, and so are ``by_type``'s counts.

    ``int8`` compute on integers, ``float`` in float; ``other`` are changes of grid and format, and work on indices. ``joined`` are
    the QuantizeLinear and DequantizeLinear of an .onnx that only say which grid an int8 operator works on. ``layout_ops``
    (transposes, reshapes) are counted in the first three as well.
    """

    int8: int
    float: int
    other: int
    joined: int
    layout_ops: int
    by_type: Mapping[str, int]
    float_ops: tuple[tuple[str, str], ...]
    layout: tuple[tuple[str, str], ...]


def account(data: bytes, format: Format) -> OpAccount:
    """Count a file's operators. Raises BadInputError for malformed bytes."""
    file = read(data, format)
    kinds = [_kind_tflite(o) for o in file.operators] if format == "tflite" else _kinds_onnx(file)
    count = Counter(kinds)
    named = tuple((o.name, o.type) for o in file.operators)
    layout = tuple(n for n in named if n[1] in TRANSPOSES | RESHAPES)
    return OpAccount(count["int8"], count["float"], count["other"], count["joined"], len(layout),
                     MappingProxyType(dict(sorted(Counter(o.type for o in file.operators).items()))),
                     tuple(n for n, kind in zip(named, kinds, strict=True) if kind == "float"), layout)


def _kind_tflite(operator: WrittenOperator) -> str:
    types = {*operator.input_types, *operator.output_types}
    if types <= INTEGER:  # a change from one int8 grid to another computes on integers too
        return "int8"
    return "float" if types & FLOAT and operator.type not in GRID_CHANGES else "other"


def _kinds_onnx(file: WrittenFile) -> list[str]:
    makers = {v: o for o in file.operators for v in o.outputs}
    readers: dict[str, list[WrittenOperator]] = {v: [] for v in makers}
    for operator in file.operators:
        for value in operator.inputs:
            readers.setdefault(value, []).append(operator)
    constant = {v for o in file.operators if not o.inputs for v in o.outputs}

    def taken_off(value: str) -> bool:
        """A real value that an int8 kernel reads as integers."""
        return value in constant or (value in makers and makers[value].type == "DequantizeLinear")

    def put_on(operator: WrittenOperator) -> bool:
        """All results go to a grid, through a bound at most."""
        reached = [r for v in operator.outputs for r in readers[v]]
        if not reached or set(operator.outputs) & set(file.outputs):
            return False
        return all(r.type == "QuantizeLinear" or (r.type in BOUNDS and operator.type not in BOUNDS and put_on(r)) for r in reached)

    def kind(operator: WrittenOperator) -> str:
        types = {t for t in (*operator.input_types, *operator.output_types) if t}
        if operator.type in GRID_CHANGES or not operator.inputs:
            return "other"
        if types <= INTEGER:
            return "int8"
        if not types & FLOAT:
            return "other"
        maker = makers.get(operator.inputs[0])
        if operator.type in BOUNDS and maker is not None and maker.type not in GRID_CHANGES and kind(maker) == "int8":
            return "int8" if put_on(operator) else "float"
        return "int8" if all(taken_off(v) for v in operator.inputs) and put_on(operator) else "float"

    kinds = {id(o): kind(o) for o in file.operators}
    for operator in file.operators:
        if operator.type == "QuantizeLinear" and operator.inputs:
            maker = makers.get(operator.inputs[0])
            ours = [] if maker is None else [maker]
        elif operator.type == "DequantizeLinear":
            reached = [r for v in operator.outputs for r in readers[v]]
            ours = [] if set(operator.outputs) & set(file.outputs) else reached
        else:
            continue
        if ours and all(o.type not in GRID_CHANGES and kinds[id(o)] == "int8" for o in ours):
            kinds[id(operator)] = "joined"
    return [kinds[id(o)] for o in file.operators]


def layout_excess(graph: Graph, data: bytes, format: Format) -> tuple[tuple[str, str], ...]:
    """Transposes and reshapes of a file, as (name, type), that the captured graph did not ask for.

    A permutation may be written as a transpose or a reshape, a reshape as a reshape only. Raises BadInputError for malformed bytes.
    """
    wanted: dict[str, set[str]] = {n.name: TRANSPOSES | RESHAPES if isinstance(n.op, Permute) else RESHAPES
                                   for n in graph.nodes if isinstance(n.op, Permute | Reshape)}
    return tuple((name, kind) for name, kind in account(data, format).layout
                 if kind not in wanted.get(name.removesuffix("/ordered"), set()))
