"""Functions of one integer value in a ``.tflite`` file: XNNPACK reads each off one table of 256, however many operators it is."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgelr.latency.litert_file import is_constant
from edgelr.latency.operation import Operation

_OF_ONE = ("lut", "leaky_relu", "requantize")
_OF_TWO = ("add", "sub", "mul")


def lookups(model: Any, graph: Any, operations: Sequence[Operation]) -> Mapping[int, tuple[int, ...]]:
    """By the number of an operator: those that its table stands for, itself last; none where tables behind it stand for it as well.

    ``operations`` are those of the graph's operators. On integers a table takes in sigmoids and the like of one value, its sums and
    products with a stored number, with itself, or with a function of itself. Measured with ai-edge-litert 2.3.0, between convolutions:
    sigmoid(x) * 1.1 + 0.5, x * sigmoid(x) and hard-swish take as long as sigmoid(x); leaky_relu(x) * sigmoid(x), neither of which is
    x itself, as its three parts together.
    """
    roots: dict[int, int] = {}  # the value that another one is a function of
    chains: dict[int, tuple[int, ...]] = {}  # the operators that make it of that one
    for number, (operator, operation) in enumerate(zip(graph.operators, operations, strict=True)):
        moving = [v for v in dict.fromkeys(int(i) for i in operator.inputs) if v >= 0 and not _stored(model, graph, v)]
        root = _root(operation, moving, roots)
        if root is not None:
            made = int(operator.outputs[0])
            roots[made] = root
            chains[made] = (*(n for v in moving for n in chains.get(v, ())), number)
    needed = {int(v) for v in graph.outputs}
    for operator in graph.operators:
        made = int(operator.outputs[0])
        needed.update(v for v in map(int, operator.inputs) if v in chains and roots.get(made) != roots[v])
    return {chain[-1]: chain if made in needed else () for made, chain in chains.items()}


def _root(operation: Operation, moving: Sequence[int], roots: Mapping[int, int]) -> int | None:
    """The value that an operator's result is a function of, if a table can hold that function."""
    alike = all(shape == operation.output for shape in operation.inputs)
    if operation.numbers != "int8" or not alike or not moving or operation.detail not in ("-", "constant1", "twice"):
        return None
    found = {roots.get(v, v) for v in moving}
    if operation.op in _OF_ONE or (operation.op in _OF_TWO and len(moving) == 1):
        return found.pop()
    itself = len(found) == 1 and any(v in found for v in moving)  # one of the two is the value itself
    return found.pop() if operation.op in _OF_TWO and itself else None


def _stored(model: Any, graph: Any, value: int) -> bool:
    return is_constant(model.buffers[graph.tensors[value].buffer])
