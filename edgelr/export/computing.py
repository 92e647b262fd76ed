"""How each operator of a file computes: on integers, in float, or with int8 weights in float (dynamic). Told from the file alone."""
from __future__ import annotations

from collections import defaultdict

from edgelr.export.operators import FileOperators, Operator
from edgelr.export.written import Format
from edgelr.vocabulary import Numbers

INTEGER = {"int8", "uint8"}
FLOAT = {"float16", "bfloat16", "float32", "float64"}
ON_GRID, OFF_GRID = {"QUANTIZE", "QuantizeLinear"}, {"DEQUANTIZE", "DequantizeLinear"}
GRID_CHANGES = ON_GRID | OFF_GRID
BOUNDS = {"Relu", "Clip"}  # in an .onnx these join the operation before: the QuantizeLinear behind them saturates

# What ONNX Runtime computes on integers between DequantizeLinear and QuantizeLinear. Seen in the graphs that 1.31.1 saves after its
# optimisations, x86-64: each type on one grid and on two. All other types stay in float between the two.
KERNELS = {"Add", "AveragePool", "Concat", "Conv", "Gemm", "GlobalAveragePool", "LeakyRelu", "MatMul", "Mul", "Sigmoid", "Softmax"}
MOVES = {"DepthToSpace", "Expand", "Flatten", "Gather", "MaxPool", "ReduceMax", "Reshape", "Resize", "Slice", "Split", "Squeeze", "Tile",
         "Transpose", "Unsqueeze"}  # these only where all its values have one grid; Resize where it repeats values (nearest)

DYNAMIC = {"ConvInteger", "DynamicQuantizeLSTM", "DynamicQuantizeLinear", "DynamicQuantizeMatMul", "MatMulInteger", "MatMulIntegerToFloat"}


class Computing:
    """``numbers`` of the operators, in order. ``makers`` and ``readers`` of values, by place; ``bounding`` boundaries between numbers."""

    def __init__(self, file: FileOperators, format: Format) -> None:
        self.file, self.onnx = file, format == "onnx"
        self.makers = {v: i for i, o in enumerate(file.operators) for v in o.outputs}
        self.readers: dict[str, list[int]] = defaultdict(list)
        self.inner: dict[int, list[int]] = defaultdict(list)
        for i, operator in enumerate(file.operators):
            for value in operator.inputs:
                self.readers[value].append(i)
            if operator.body_of is not None:
                self.inner[operator.body_of].append(i)
        self.known: dict[int, Numbers] = {}
        self.numbers = tuple(self._numbers(i) for i in range(len(file.operators)))

    def maker(self, value: str) -> Operator | None:
        return self.file.operators[self.makers[value]] if value in self.makers else None

    def reached(self, operator: Operator) -> list[int]:
        """Places of the operators that read a result, each once."""
        return list(dict.fromkeys(r for v in operator.outputs for r in self.readers[v]))

    def given_out(self, operator: Operator) -> bool:
        return bool(set(operator.outputs) & set(self.file.outputs))

    def _numbers(self, place: int) -> Numbers:
        if place not in self.known:
            self.known[place] = "float"  # what a circle of boundaries would be
            self.known[place] = self._found(place)
        return self.known[place]

    def _found(self, place: int) -> Numbers:
        operator = self.file.operators[place]
        if operator.types <= INTEGER and operator.inputs:  # a change from one int8 grid to another computes on integers too
            return "int8"
        if operator.type in ON_GRID:
            return self._put_on_by(operator)
        if operator.type in OFF_GRID:
            return self._taken_off_for(operator)
        if self._dynamic(operator) or self._loops_dynamically(place):
            return "dynamic"
        if not operator.inputs or (operator.output_types and not set(operator.output_types) & {*FLOAT, ""}):
            return self._served(place)
        if not self.onnx:
            return "float"
        if self._scales_a_dynamic_product(operator):
            return "dynamic"
        return "int8" if self._fused(operator) else "float"

    def _dynamic(self, operator: Operator) -> bool:
        hybrid = not self.onnx and bool(operator.types & FLOAT) and bool(INTEGER & set(operator.stored))
        return hybrid or operator.type in DYNAMIC

    def _loops_dynamically(self, place: int) -> bool:
        return any(self._dynamic(self.file.operators[i]) or self._loops_dynamically(i) for i in self.inner[place])

    def _served(self, place: int) -> Numbers:
        """Work on indices and shapes counts with what it is done for: the first reader, or the loop that it is in."""
        operator = self.file.operators[place]
        for reader in self.reached(operator):
            if reader > place:
                return self._numbers(reader)
        if operator.body_of is not None:
            return "dynamic" if self._loops_dynamically(operator.body_of) else "float"
        return "int8" if operator.types & INTEGER else "float"

    def _put_on_by(self, operator: Operator) -> Numbers:
        maker = self.makers.get(operator.inputs[0]) if operator.inputs else None
        if maker is not None:
            return "int8" if self.file.operators[maker].type in OFF_GRID else self._numbers(maker)
        return "int8" if any(self._numbers(r) == "int8" for r in self.reached(operator)) or self.given_out(operator) else "float"

    def _taken_off_for(self, operator: Operator) -> Numbers:
        readers = {self._numbers(r) for r in self.reached(operator)}
        if "int8" in readers or not readers:
            maker = self.makers.get(operator.inputs[0]) if operator.inputs else None
            return "int8" if readers or maker is None else self._numbers(maker)
        return "dynamic" if readers == {"dynamic"} else "float"

    # What ONNX Runtime makes of the nodes of an .onnx.

    def _scales_a_dynamic_product(self, operator: Operator) -> bool:
        """Whether it is one of the nodes behind a MatMulInteger that ONNX Runtime joins with it: Cast, Mul and, last, Add."""
        makers = [m for m in map(self.maker, operator.inputs) if m is not None]
        if operator.type == "Cast":
            return any(m.type in ("MatMulInteger", "ConvInteger") for m in makers)
        if operator.type == "Mul":
            scaled = [m for m in makers if m.type in ("Cast", "Mul")]
            return any(m.type == "DynamicQuantizeLinear" for m in makers) or any(map(self._scales_a_dynamic_product, scaled))
        return operator.type == "Add" and any(m.type == "Mul" and self._scales_a_dynamic_product(m) for m in makers)

    def _put_on(self, operator: Operator) -> list[Operator] | None:
        """The QuantizeLinear that all results go to, through a bound at most; None where some go elsewhere."""
        reached = [self.file.operators[i] for i in self.reached(operator)]
        if not reached or self.given_out(operator):
            return None
        found: list[Operator] = []
        for reader in reached:
            if reader.type == "QuantizeLinear":
                found.append(reader)
            elif reader.type in BOUNDS and operator.type not in BOUNDS and (behind := self._put_on(reader)) is not None:
                found += behind
            else:
                return None
        return found

    def _fused(self, operator: Operator) -> bool:
        makers = [self.maker(v) for v in operator.inputs]
        if operator.type in BOUNDS:
            joined = makers[0] is not None and makers[0].type not in BOUNDS | GRID_CHANGES and self._fused(makers[0])
            return joined and self._put_on(operator) is not None
        off = [m for m in makers if m is not None and m.type == "DequantizeLinear"]
        on = self._put_on(operator)
        if on is None or any(m is None or (m.type != "DequantizeLinear" and m.inputs) for m in makers):
            return False
        return operator.type in KERNELS or (operator.type in MOVES and operator.mode in ("", "nearest")
                                            and len({o.grid for o in (*off, *on)}) == 1)
