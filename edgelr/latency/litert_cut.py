"""Cuts single operators out of a ``.tflite`` file, each as a small file of its own."""
from __future__ import annotations

import copy
import struct
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgelr.errors import BadInputError, UnsupportedError

_LAYOUT_DATA_BYTES = 64


@dataclass(frozen=True)
class Cut:
    """One operator: its name (of its first output tensor), what decides its time, and a file that holds it alone."""

    name: str
    key: Hashable
    data: bytes


def cut_operators(data: bytes) -> Iterator[Cut]:
    """Every operator of the file's only graph, in order, with copies of its tensors and constants.

    Operators with equal ``key`` have the same code, options, tensor types and shapes, and take the same time. Raises
    ``BadInputError`` if the bytes aren't a ``.tflite`` file, ``UnsupportedError`` if it has more than one graph.
    """
    from ai_edge_litert import schema_py_generated as schema

    if data[4:8] != b"TFL3":
        raise BadInputError("This isn't a .tflite file.", "the mark TFL3 is missing.")
    try:
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    except (struct.error, IndexError, TypeError, ValueError) as error:
        raise BadInputError("This .tflite file is damaged.", str(error)) from error
    if len(model.subgraphs) != 1:
        raise UnsupportedError("This .tflite file can't be timed by operator.", f"it has {len(model.subgraphs)} graphs, not one.")
    for buffer in model.buffers:
        # A converter may keep large constants behind the flatbuffer; an empty buffer would silently give other kernels.
        if buffer.offset > 1:
            buffer.data = np.frombuffer(data, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    graph = model.subgraphs[0]
    for operator in graph.operators:
        name = graph.tensors[operator.outputs[0]].name.decode()
        yield Cut(name, _key(model, graph, operator), _alone(schema, model, graph, operator))


def _alone(schema: Any, model: Any, graph: Any, operator: Any) -> bytes:
    alone, inside = schema.ModelT(), schema.SubGraphT()
    alone.version, alone.buffers, alone.subgraphs = 3, [schema.BufferT()], [inside]
    alone.operatorCodes, inside.tensors = [model.operatorCodes[operator.opcodeIndex]], []
    moved: dict[int, int] = {-1: -1}

    def move(index: int) -> int:
        if index not in moved:
            tensor = copy.copy(graph.tensors[index])
            buffer = model.buffers[tensor.buffer]
            tensor.buffer = 0
            if _is_constant(buffer):
                alone.buffers.append(buffer)
                tensor.buffer = len(alone.buffers) - 1
            inside.tensors.append(tensor)
            moved[index] = len(inside.tensors) - 1
        return moved[index]

    only = copy.copy(operator)
    only.opcodeIndex = 0
    only.inputs, only.outputs = [move(int(i)) for i in operator.inputs], [move(int(i)) for i in operator.outputs]
    inside.operators = [only]
    inside.inputs = list(dict.fromkeys(i for i in only.inputs if i >= 0 and inside.tensors[i].buffer == 0))
    inside.outputs = only.outputs
    return pack(alone)


def pack(model: Any) -> bytes:
    """The bytes of a model object of the schema."""
    import flatbuffers

    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _is_constant(buffer: Any) -> bool:
    return buffer.data is not None and len(buffer.data) > 0


def _key(model: Any, graph: Any, operator: Any) -> Hashable:
    code = model.operatorCodes[operator.opcodeIndex]
    options = [_plain(operator.builtinOptions), _plain(operator.builtinOptions2), _plain(operator.customOptions)]
    tensors = []
    for index in [*operator.inputs, *operator.outputs]:
        if index < 0:
            tensors.append("none")
            continue
        tensor = graph.tensors[index]
        buffer = model.buffers[tensor.buffer]
        constant = _is_constant(buffer)
        # Small integer constants without a scale are pads, axes or shapes: they say what the operator does.
        unscaled = tensor.quantization is None or tensor.quantization.scale is None
        layout = bytes(buffer.data) if constant and unscaled and len(buffer.data) <= _LAYOUT_DATA_BYTES else b""
        tensors.append(f"{tensor.type} {list(tensor.shape)} {constant} {layout!r}")
    tied = [[*operator.inputs].index(i) for i in operator.inputs]
    return repr((code.builtinCode, code.deprecatedBuiltinCode, code.customCode, code.version, options, tensors, tied))


def _plain(value: Any) -> Any:
    if hasattr(value, "__dict__"):
        return {"": type(value).__name__, **{name: _plain(v) for name, v in sorted(vars(value).items())}}
    return value.tolist() if isinstance(value, np.ndarray) else value
