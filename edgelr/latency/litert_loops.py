"""Loops in a ``.tflite`` file: how often they turn, and the loop without the work in it."""
from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from edgelr.errors import UnsupportedError
from edgelr.latency.litert_file import moved, mover, pack
from edgelr.latency.operation import Shape

_UNTOLD = "This .tflite file can't be timed by operator."


def turns(schema: Any, model: Any, graph: Any, operator: Any) -> int:
    """How often the body of a WHILE runs, where its condition compares a variable, counted up or down by a constant, with a constant.

    That is how edgelr writes loops. Raises UnsupportedError for others.
    """
    try:
        condition, body, less, step, place = _parts(model, operator)
        if _code(model, less) != schema.BuiltinOperator.LESS:
            raise LookupError("its condition is no LESS")
        counter, (a, b) = int(condition.inputs[place]), (int(i) for i in less.inputs)
        limit = _number(model, condition, b if counter == a else a)
        first = _number(model, graph, int(operator.inputs[place]))
        if _code(model, step) != schema.BuiltinOperator.ADD or int(body.inputs[place]) not in list(step.inputs):
            raise LookupError("its counter isn't counted up")
        by = _number(model, body, next(int(i) for i in step.inputs if int(i) != int(body.inputs[place])))
    except (LookupError, ValueError, StopIteration, AttributeError) as error:
        raise UnsupportedError(_UNTOLD, f"the turns of a loop can't be told: {error}") from error
    count = -(-(limit - first) // by) if counter == a else -(-(first - limit) // -by)
    if count < 0 or by == 0:
        raise UnsupportedError(_UNTOLD, "a loop never ends.")
    return count


def own_operators(schema: Any, model: Any, operator: Any) -> list[Any]:
    """Those of a WHILE's body that are the loop's own work: counting turns, and writing results into a variable that collects them.

    For a WHILE that ``turns`` takes. A Scan of an ``.onnx`` does the same inside of its kernel.
    """
    _, body, _, step, _ = _parts(model, operator)
    writers = [o for o in body.operators if _collects(schema, model, body, o)]
    own, wanted = [step, *writers], {int(o.inputs[2]) for o in writers}  # places that they write to are worked out in the body
    for other in reversed(body.operators):
        if wanted.intersection(int(i) for i in other.outputs) and other not in own:
            own.append(other)
            wanted.update(int(i) for i in other.inputs)
    return [o for o in body.operators if o in own]


def _collects(schema: Any, model: Any, body: Any, operator: Any) -> bool:
    if _code(model, operator) != schema.BuiltinOperator.DYNAMIC_UPDATE_SLICE:
        return False
    variable, rows = (int(i) for i in operator.inputs[:2])
    handed = (variable, int(operator.outputs[0])) in zip(body.inputs, body.outputs, strict=False)
    return handed and bool(body.tensors[rows].type == schema.TensorType.FLOAT32)


def carried(model: Any, operator: Any) -> tuple[Shape, ...]:
    """The shapes of what a turn takes and hands on, without the counter; for a WHILE that ``turns`` takes."""
    _, body, _, _, place = _parts(model, operator)
    shapes = [body.tensors[int(i)].shape for n, i in enumerate(body.inputs) if n != place]
    return tuple(() if shape is None else tuple(int(n) for n in shape) for shape in shapes)


def empty_loop(schema: Any, model: Any, graph: Any, operator: Any) -> bytes:
    """A file with the loop alone, of as many turns: they count, write zeros where results are collected, and hand the rest on."""
    alone = schema.ModelT()
    alone.version, alone.buffers, alone.subgraphs, alone.operatorCodes = 3, [schema.BufferT()], [], []
    graphs = [schema.SubGraphT() for _ in range(3)]
    condition, body, less, _, _ = _parts(model, operator)
    own = own_operators(schema, model, operator)
    made = {int(i) for o in own for i in o.outputs}
    for inside, source, work in zip(graphs, (graph, condition, body), ([operator], [less], own), strict=True):
        inside.tensors = []
        move = mover(model, source, alone, inside)
        inside.operators = [moved(model, alone, o, move) for o in work]
        if source is graph:
            inside.inputs = [i for i in inside.operators[0].inputs if inside.tensors[i].buffer == 0]
            inside.outputs = inside.operators[0].outputs
        elif source is condition:
            inside.inputs, inside.outputs = [move(int(i)) for i in source.inputs], inside.operators[0].outputs
        else:
            inside.inputs = [move(int(i)) for i in source.inputs]
            inside.outputs = [move(int(o if int(o) in made else i)) for i, o in zip(source.inputs, source.outputs, strict=True)]
            for o in work:
                if _collects(schema, model, body, o):
                    _zeros(schema, alone, inside.tensors[move(int(o.inputs[1]))])
    alone.subgraphs = graphs
    options = type(operator.builtinOptions)()
    options.condSubgraphIndex, options.bodySubgraphIndex = 1, 2
    graphs[0].operators[0].builtinOptions = options
    return pack(alone)


def _zeros(schema: Any, alone: Any, tensor: Any) -> None:
    """Store zeros for a tensor of float32."""
    buffer = schema.BufferT()
    buffer.data = np.zeros(4 * prod(int(n) for n in tensor.shape), np.uint8)
    alone.buffers.append(buffer)
    tensor.buffer = len(alone.buffers) - 1


def _parts(model: Any, operator: Any) -> tuple[Any, Any, Any, Any, int]:
    """A WHILE's condition and body, the operators in them that compare and count, and which of the variables is the counter."""
    condition, body = (model.subgraphs[i] for i in (operator.builtinOptions.condSubgraphIndex, operator.builtinOptions.bodySubgraphIndex))
    (less,) = condition.operators
    place = list(condition.inputs).index(next(i for i in less.inputs if i in list(condition.inputs)))
    step = next(o for o in body.operators if int(body.outputs[place]) in list(o.outputs))
    return condition, body, less, step, place


def _code(model: Any, operator: Any) -> int:
    code = model.operatorCodes[operator.opcodeIndex]
    return int(max(code.builtinCode, code.deprecatedBuiltinCode))


def _number(model: Any, graph: Any, index: int) -> int:
    data = model.buffers[graph.tensors[index].buffer].data
    if data is None or len(data) != 4:
        raise LookupError("a bound isn't a stored number")
    return int(np.frombuffer(np.asarray(data, np.uint8).tobytes(), "<i4")[0])
