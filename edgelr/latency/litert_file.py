"""Parts of a ``.tflite`` model moved into another one, and its bytes."""
from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any


def mover(model: Any, graph: Any, alone: Any, inside: Any) -> Callable[[int], int]:
    """Brings a tensor of ``graph`` with its constant into the graph ``inside`` of another model, once; the new index."""
    done: dict[int, int] = {-1: -1}

    def move(index: int) -> int:
        if index not in done:
            tensor = copy.copy(graph.tensors[index])
            buffer = model.buffers[tensor.buffer]
            tensor.buffer = 0
            if is_constant(buffer):
                alone.buffers.append(buffer)
                tensor.buffer = len(alone.buffers) - 1
            inside.tensors.append(tensor)
            done[index] = len(inside.tensors) - 1
        return done[index]

    return move


def moved(model: Any, alone: Any, operator: Any, move: Callable[[int], int]) -> Any:
    """A copy of an operator in another model."""
    only = copy.copy(operator)
    alone.operatorCodes = [*(alone.operatorCodes or []), model.operatorCodes[operator.opcodeIndex]]
    only.opcodeIndex = len(alone.operatorCodes) - 1
    only.inputs, only.outputs = [move(int(i)) for i in operator.inputs], [move(int(i)) for i in operator.outputs]
    return only


def pack(model: Any) -> bytes:
    """The bytes of a model object of the schema."""
    import flatbuffers

    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def is_constant(buffer: Any) -> bool:
    return buffer.data is not None and len(buffer.data) > 0
