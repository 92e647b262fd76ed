"""Accounts for every operator of a written file: how it computes, which operation of the graph it is part of, and why so."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgelr.export.computing import GRID_CHANGES, KERNELS, MOVES, OFF_GRID, ON_GRID, Computing
from edgelr.export.operators import Operator, operators
from edgelr.export.written import Format
from edgelr.graph.mixed import MOVES as MOVES_FLOATS
from edgelr.graph.ops import Dequantize, Quantize
from edgelr.quantization import Quantized
from edgelr.vocabulary import Numbers

TAKES_FLOAT = "the file takes float32, and what reads it computes on integers"
GIVES_FLOAT = "the file gives float32, and what makes it computes on integers"
INTO, BACK = "into float: ", "back from float: "
UNEXPLAINED = "nothing in the graph says why the file computes it so"


@dataclass(frozen=True)
class OpRow:
    """One operator of a file. ``node`` is the graph's that it is part of, "" where there is none; at a boundary, the one that needs it.

    ``by`` and ``why`` tell why it doesn't compute on integers; ``by`` is "" where it does.
    """

    name: str
    type: str
    node: str
    numbers: Numbers
    by: Literal["", "choice", "necessity"] = ""
    why: str = ""


def accounted(q: Quantized, data: bytes, format: Format) -> tuple[OpRow, ...]:
    """Every operator of a file exactly once: how it computes, as the file says, and why, as the graph does.

    Raises BadInputError for malformed bytes.
    """
    return _Accounting(q, data, format).rows()


def unexplained(rows: tuple[OpRow, ...]) -> tuple[OpRow, ...]:
    """Operators whose numbers nothing in the graph explains: a user is to be warned of them."""
    return tuple(r for r in rows if UNEXPLAINED in r.why)


class _Accounting:
    def __init__(self, q: Quantized, data: bytes, format: Format) -> None:
        self.q, self.format = q, format
        self.file = operators(data, format)
        self.computing = Computing(self.file, format)
        self.ops = {n.name: n.op for n in q.graph.nodes}
        self.nodes = self._nodes()

    def _nodes(self) -> list[str]:
        """The graph's node for each operator: by its name, else that of the named one behind it, since a node is written in one piece."""
        nodes: list[str] = []
        found = ""
        for operator in reversed([o for o in self.file.operators if o.body_of is None]):
            found = self._named(operator.name) if operator.name else found
            nodes.append(found)
        nodes.reverse()
        for operator in self.file.operators[len(nodes):]:
            nodes.append(nodes[operator.body_of or 0])
        for place, operator in enumerate(self.file.operators):
            if operator.type in OFF_GRID and not operator.name:  # it belongs to what put the value on its grid, or to its reader
                maker = self.computing.makers.get(operator.inputs[0]) if operator.inputs else None
                near = [maker] if maker is not None else self.computing.reached(operator)
                nodes[place] = nodes[near[0]] if near else ""
        return nodes

    def _named(self, name: str) -> str:
        """NODE of NODE/part/q, the longest that there is."""
        parts = name.split("/")
        heads = ("/".join(parts[:n]) for n in range(len(parts), 0, -1))
        return next((h for h in heads if h in self.ops or h == self.q.graph.input), "")

    def rows(self) -> tuple[OpRow, ...]:
        return tuple(self._row(i, o) for i, o in enumerate(self.file.operators))

    def _row(self, place: int, operator: Operator) -> OpRow:
        numbers, node = self.computing.numbers[place], self.nodes[place]
        name = operator.name or node
        if numbers == "int8":
            return OpRow(name, operator.type, node, numbers, "", self._why_int8(operator, node))
        needing, toward = self._needing(place)
        by, why = self._reason(place if needing is None else needing, numbers)
        return OpRow(name, operator.type, node if needing is None else self.nodes[needing], numbers, by, toward + why)

    def _why_int8(self, operator: Operator, node: str) -> str:
        if operator.type in ON_GRID and set(operator.inputs) & set(self.file.inputs) and "float32" in operator.input_types:
            return TAKES_FLOAT
        if operator.type in OFF_GRID and self.computing.given_out(operator):
            return GIVES_FLOAT
        kept = self.q.kept.get(node)
        return "" if kept is None or operator.type in GRID_CHANGES else f"{UNEXPLAINED}: {node} is kept {kept.numbers}"

    def _needing(self, place: int) -> tuple[int | None, str]:
        """For a boundary the place of the operator that it is there for, and what it does for it; None for all other operators."""
        operator = self.file.operators[place]
        if operator.type in ON_GRID:
            maker = self.computing.makers.get(operator.inputs[0]) if operator.inputs else None
            return (self._origin(maker), BACK) if maker is not None else self._needing(self.computing.reached(operator)[0])
        if operator.type in OFF_GRID or isinstance(self.ops.get(self.nodes[place]), Dequantize):
            numbers = self.computing.numbers[place]
            for reader in self.computing.reached(operator):
                if self.computing.numbers[reader] == numbers and self.file.operators[reader].type not in GRID_CHANGES:
                    beyond, _ = self._needing(reader)
                    return reader if beyond is None else beyond, INTO
            maker = self.computing.makers.get(operator.inputs[0]) if operator.inputs else None
            if maker is not None:  # it is read by nothing: it gives the file's output
                beyond, _ = self._needing(maker)
                return maker if beyond is None else beyond, BACK
        return None, ""

    def _origin(self, place: int) -> int:
        """Where values in float come from, past operations that are in float only because they move them."""
        operator, kept = self.file.operators[place], self.q.kept.get(self.nodes[place])
        before = [self.computing.makers[v] for v in operator.inputs if v in self.computing.makers]
        return self._origin(before[0]) if kept is not None and kept.why == MOVES_FLOATS and before else place

    def _reason(self, place: int, numbers: Numbers) -> tuple[Literal["choice", "necessity"], str]:
        operator, node = self.file.operators[place], self.nodes[place]
        kept, op = self.q.kept.get(node), self.ops.get(node)
        if kept is not None:
            if kept.numbers == numbers:
                return kept.by, kept.why
            if kept.numbers == "dynamic":
                return kept.by, f"only the weights' products of its layer are dynamic: {kept.why}"
            return "necessity", f"{UNEXPLAINED}: {node} is kept {kept.numbers}"
        reason = op.float_reason(self.format) if op is not None and not isinstance(op, Dequantize | Quantize) else ""
        if reason:
            return "necessity", reason
        fuses = operator.type in KERNELS | MOVES and operator.mode in ("", "nearest")
        if self.format == "onnx" and op is not None and numbers == "float" and not fuses:
            return "necessity", f"ONNX Runtime computes {operator.type} in float"
        return "necessity", UNEXPLAINED
