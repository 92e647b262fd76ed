"""Functions of one integer value in a ``.tflite`` file: XNNPACK reads each off one table of 256, however many operators it is."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgelr.latency.litert_file import is_constant
from edgelr.latency.operation import Operation

_OF_ONE = ("lut", "leaky_relu", "requantize")
_OF_TWO = ("add", "sub", "mul")


@dataclass(frozen=True)
class _Function:
    """How a value comes from another one: the values on the way, that one first and itself last, and the operators of each step."""

    values: tuple[int, ...]
    steps: tuple[tuple[int, ...], ...] = ()

    @property
    def operators(self) -> tuple[int, ...]:
        return tuple(n for step in self.steps for n in step)

    def then(self, number: int, made: int) -> _Function:
        return _Function((*self.values, made), (*self.steps, (number,)))

    def since(self, value: int) -> tuple[int, ...]:
        """The operators after one of the values on the way."""
        return tuple(n for step in self.steps[self.values.index(value) :] for n in step)


def lookups(model: Any, graph: Any, operations: Sequence[Operation]) -> Mapping[int, tuple[int, ...]]:
    """By the number of an operator: those that its table stands for, itself last; none where tables behind it stand for it as well.

    ``operations`` are those of the graph's operators. On integers a table takes in what is done to one value one after the other, and the
    sum or product of a value with a function of itself. Measured with ai-edge-litert 2.3.0, between convolutions, in tables' times:
    sigmoid(x) * 1.1 + 0.5, hard-swish, tanh(x * sigmoid(x)) and tanh(x)^2 take one; y * sigmoid(y) of y = tanh(x), and tanh(x^2), two;
    leaky_relu(x) * sigmoid(x), neither of which is x itself, is no table.
    """
    known: dict[int, _Function] = {}  # functions that more can be added to
    chains: dict[int, tuple[int, ...]] = {}  # the operators that make a value, by value
    for number, (operator, operation) in enumerate(zip(graph.operators, operations, strict=True)):
        made = int(operator.outputs[0])
        moving = [v for v in dict.fromkeys(int(i) for i in operator.inputs) if v >= 0 and not _stored(model, graph, v)]
        if not _possible(operation) or not moving:
            continue
        of = [known.get(v, _Function((v,))) for v in moving]
        if operation.op in _OF_ONE or operation.detail == "constant1":
            known[made] = of[0].then(number, made)
            chains[made] = known[made].operators
        elif operation.detail == "twice":
            chains[made] = (*of[0].operators, number)
        elif len(of) == 2:
            long, short = sorted(of, key=lambda f: len(f.values), reverse=True)
            value = short.values[-1]
            if value in long.values:
                known[made] = _Function((value, made), ((*long.since(value), number),))
                chains[made] = known[made].operators
    needed = {int(v) for v in graph.outputs}
    makers = {int(o.outputs[0]): number for number, o in enumerate(graph.operators)}
    for operator in graph.operators:
        taken = chains.get(int(operator.outputs[0]), ())
        needed.update(v for v in map(int, operator.inputs) if v in chains and makers[v] not in taken)
    return {chain[-1]: chain if made in needed else () for made, chain in chains.items()}


def _possible(operation: Operation) -> bool:
    if operation.numbers != "int8" or any(shape != operation.output for shape in operation.inputs):
        return False
    return operation.op in _OF_ONE or (operation.op in _OF_TWO and operation.detail in ("-", "constant1", "twice"))


def _stored(model: Any, graph: Any, value: int) -> bool:
    return is_constant(model.buffers[graph.tensors[value].buffer])
