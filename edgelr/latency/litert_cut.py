"""Cuts single operators out of a ``.tflite`` file, each as a small file of its own."""
from __future__ import annotations

import struct
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from edgelr.errors import BadInputError, UnsupportedError
from edgelr.latency.litert_file import is_constant, moved, mover, pack
from edgelr.latency.litert_lookups import lookups
from edgelr.latency.litert_loops import loop_of, whole_loop
from edgelr.latency.litert_words import merged_pads, operation_of
from edgelr.latency.operation import Operation
from edgelr.latency.single import Cut

__all__ = ["cut_operators", "pack"]

_LAYOUT_DATA_BYTES = 64


def cut_operators(data: bytes, *, merged: bool = False) -> Iterator[Cut]:
    """Every operator of the file in order, with copies of its tensors and constants; a loop with all that turns in it is one.

    ``merged``: a PAD that XNNPACK merges into the convolution behind it is part of that one's cut, not one of its own; and operators
    that it reads off one table together are one.

    Operators with equal ``key`` have the same code, options, tensor types and shapes, and take the same time. An operator without a
    name is called by the next named one that it serves: NAME/part. Raises ``BadInputError`` if the bytes aren't a ``.tflite`` file,
    ``UnsupportedError`` if it has further graphs that aren't loops with a number of turns told in the file.
    """
    from ai_edge_litert import schema_py_generated as schema

    if data[4:8] != b"TFL3":
        raise BadInputError("This isn't a .tflite file.", "the mark TFL3 is missing.")
    try:
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    except (struct.error, IndexError, TypeError, ValueError) as error:
        raise BadInputError("This .tflite file is damaged.", str(error)) from error
    for buffer in model.buffers:
        # A converter may keep large constants behind the flatbuffer; an empty buffer would silently give other kernels.
        if buffer.offset > 1:
            buffer.data = np.frombuffer(data, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    yield from _cuts(schema, model, model.subgraphs[0], merged)


def _cuts(schema: Any, model: Any, graph: Any, merged: bool) -> Iterator[Cut]:
    names, operations = _names(graph), [operation_of(schema, model, graph, o) for o in graph.operators]
    pads = merged_pads(schema, model, graph) if merged else {}
    tables = lookups(model, graph, operations) if merged else {}
    for number, operator in enumerate(graph.operators):
        if number in pads.values() or tables.get(number) == ():
            continue
        before, operation = [graph.operators[n] for n in tables.get(number, ())[:-1]], operations[number]
        if before:
            operation = Operation("lut", "int8", (operation.output,), operation.output)
        if number in pads:
            before, operation = [graph.operators[pads[number]]], replace(operation, inputs=operations[pads[number]].inputs)
        name = names[number] or operation.op
        options = operator.builtinOptions
        if options is None or not any(field.endswith("SubgraphIndex") for field in vars(options)):
            together = [*before, operator]
            key = tuple(_key(model, graph, o) for o in together) if before else _key(model, graph, operator)
            yield Cut(name, operation, key, partial(_alone, schema, model, graph, together))
            continue
        if operation.op != "loop":
            raise UnsupportedError("This .tflite file can't be timed by operator.", f"{name}: it has graphs inside that are no loop.")
        operation = loop_of(schema, model, graph, operator)
        yield Cut(name, operation, ("loop", str(operation)), partial(whole_loop, schema, model, graph, operator))


def _names(graph: Any) -> list[str]:
    """Each operator's name: its first output's, or else that of the named operator that it serves with "/part" behind."""
    named = [_text(graph.tensors[o.outputs[0]].name) for o in graph.operators]
    reader: dict[int, int] = {}
    for number, operator in reversed(list(enumerate(graph.operators))):
        reader.update((int(i), number) for i in operator.inputs)
    serves = list(named)
    for number in reversed(range(len(named))):
        if not named[number]:
            readers = [reader[int(i)] for i in graph.operators[number].outputs if int(i) in reader]
            serves[number] = serves[readers[0]] if readers else ""
    return [name or (f"{base}/part" if base else "") for name, base in zip(named, serves, strict=True)]


def _text(name: Any) -> str:
    return "" if name is None else name.decode() if isinstance(name, bytes) else str(name)


def _alone(schema: Any, model: Any, graph: Any, operators: Sequence[Any]) -> bytes:
    """A file of a few operators, one behind the other."""
    alone, inside = schema.ModelT(), schema.SubGraphT()
    alone.version, alone.buffers, alone.subgraphs = 3, [schema.BufferT()], [inside]
    inside.tensors = []
    move = mover(model, graph, alone, inside)
    inside.operators = [moved(model, alone, operator, move) for operator in operators]
    made = {i for operator in inside.operators for i in operator.outputs}
    read = dict.fromkeys(i for operator in inside.operators for i in operator.inputs if i >= 0)
    inside.inputs = [i for i in read if i not in made and inside.tensors[i].buffer == 0]
    inside.outputs = inside.operators[-1].outputs
    return pack(alone)


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
        constant = is_constant(buffer)
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
