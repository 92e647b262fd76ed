"""How many bytes an operation's weights and values have."""
from __future__ import annotations

from collections.abc import Mapping
from math import prod

from edgelr.latency.loops import Turns
from edgelr.latency.operation import Operation
from edgelr.vocabulary import Numbers

_WEIGHT_BYTES: Mapping[Numbers, int] = {"int8": 1, "dynamic": 1, "float": 4}
_VALUE_BYTES: Mapping[Numbers, int] = {"int8": 1, "dynamic": 4, "float": 4}
_GATES = {"lstm": 4, "gru": 3}


def weight_bytes(operation: Operation) -> int:
    """Of stored matrices and kernels."""
    o = operation
    c_in, c_out = o.inputs[0][-1] if o.inputs else 0, o.output[-1] if o.output else 0
    count = 0
    if o.op == "depthwise":
        count = prod(o.kernel) * c_out
    elif o.op in ("conv", "conv_transpose"):
        count = prod(o.kernel) * c_in * c_out // max(o.groups, 1)
    elif o.op == "linear":
        count = c_in * c_out
    elif o.op in _GATES:
        count = _GATES[o.op] * (c_in + c_out) * c_out
    elif o.op == "loop":
        count = sum(times * prod(sizes) for times, sizes in Turns.told(o.detail).products)
    return count * _WEIGHT_BYTES[o.numbers]


def value_bytes(operation: Operation) -> int:
    """Of what an operation reads and writes."""
    return (sum(map(prod, operation.inputs)) + prod(operation.output)) * _VALUE_BYTES[operation.numbers]


def held_bytes(operation: Operation) -> int:
    """All that an operation goes through: weights and values."""
    return weight_bytes(operation) + value_bytes(operation)


def moved_bytes(operation: Operation) -> int:
    """Values of an operation with weights. Others stand between those, and find their values where these left them."""
    return value_bytes(operation) if weight_bytes(operation) else 0


def stays_near(operation: Operation) -> bool:
    """Whether an operation finds all that it needs where others left it: one of hardly any weights does, and a loop from its second turn.

    Measured cold, LiteRT's float depthwise convolutions of more than 3 MB of values took twice or half as long by what ran before them.
    """
    return operation.op in ("depthwise", "loop") or not weight_bytes(operation)
