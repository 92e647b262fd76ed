"""Loops in a ``.tflite`` file: how often they turn, and a turn without the work in it."""
from __future__ import annotations

from typing import Any

import numpy as np

from edgelr.errors import UnsupportedError
from edgelr.latency.litert_file import moved, mover, pack

_UNTOLD = "This .tflite file can't be timed by operator."


def turns(schema: Any, model: Any, graph: Any, operator: Any) -> int:
    """How often the body of a WHILE runs, where its condition compares a variable, counted up or down by a constant, with a constant.

    That is how edgelr writes loops. Raises UnsupportedError for others.
    """
    condition, body = (model.subgraphs[i] for i in (operator.builtinOptions.condSubgraphIndex, operator.builtinOptions.bodySubgraphIndex))
    try:
        (less,) = condition.operators
        if _code(model, less) != schema.BuiltinOperator.LESS:
            raise LookupError("its condition is no LESS")
        a, b = (int(i) for i in less.inputs)
        counter = a if a in list(condition.inputs) else b
        place = list(condition.inputs).index(counter)
        limit = _number(model, condition, b if counter == a else a)
        first = _number(model, graph, int(operator.inputs[place]))
        step = next(o for o in body.operators if int(body.outputs[place]) in list(o.outputs))
        if _code(model, step) != schema.BuiltinOperator.ADD or int(body.inputs[place]) not in list(step.inputs):
            raise LookupError("its counter isn't counted up")
        by = _number(model, body, next(int(i) for i in step.inputs if int(i) != int(body.inputs[place])))
    except (LookupError, ValueError, StopIteration, AttributeError) as error:
        raise UnsupportedError(_UNTOLD, f"the turns of a loop can't be told: {error}") from error
    count = -(-(limit - first) // by) if counter == a else -(-(first - limit) // -by)
    if count < 0 or by == 0:
        raise UnsupportedError(_UNTOLD, "a loop never ends.")
    return count


def empty_turn(schema: Any, model: Any, graph: Any, operator: Any) -> bytes:
    """A file with the loop alone, of one turn that counts and hands all other variables on."""
    alone = schema.ModelT()
    alone.version, alone.buffers, alone.subgraphs, alone.operatorCodes = 3, [schema.BufferT()], [], []
    graphs = [schema.SubGraphT() for _ in range(3)]
    condition, body = (model.subgraphs[i] for i in (operator.builtinOptions.condSubgraphIndex, operator.builtinOptions.bodySubgraphIndex))
    (less,) = condition.operators
    place = list(condition.inputs).index(next(i for i in less.inputs if i in list(condition.inputs)))
    step = next(o for o in body.operators if int(body.outputs[place]) in list(o.outputs))
    for inside, source, work in zip(graphs, (graph, condition, body), (operator, less, step), strict=True):
        inside.tensors = []
        move = mover(model, source, alone, inside)
        inside.operators = [moved(model, alone, work, move)]
        if source is graph:
            inside.inputs = [i for i in inside.operators[0].inputs if inside.tensors[i].buffer == 0]
            inside.outputs = inside.operators[0].outputs
        else:
            inside.inputs = [move(int(i)) for i in source.inputs]
            handed = [int(o if n == place else i) for n, (i, o) in enumerate(zip(source.inputs, source.outputs, strict=False))]
            inside.outputs = inside.operators[0].outputs if source is condition else [move(i) for i in handed]
    alone.subgraphs = graphs
    options = type(operator.builtinOptions)()
    options.condSubgraphIndex, options.bodySubgraphIndex = 1, 2
    graphs[0].operators[0].builtinOptions = options
    _turn_once(model, condition, graph, operator, less, place, alone, graphs[1])
    return pack(alone)


def _turn_once(model: Any, condition: Any, graph: Any, operator: Any, less: Any, place: int, alone: Any, inside: Any) -> None:
    """Set the condition's limit so that it holds once."""
    counter = int(condition.inputs[place])
    first = _number(model, graph, int(operator.inputs[place]))
    upwards = int(less.inputs[0]) == counter
    limit = next(i for i in inside.operators[0].inputs if inside.tensors[i].buffer)
    buffer = type(alone.buffers[0])()
    buffer.data = np.frombuffer(np.array([first + 1 if upwards else first - 1], np.int32).tobytes(), np.uint8)
    alone.buffers[inside.tensors[limit].buffer] = buffer


def _code(model: Any, operator: Any) -> int:
    code = model.operatorCodes[operator.opcodeIndex]
    return int(max(code.builtinCode, code.deprecatedBuiltinCode))


def _number(model: Any, graph: Any, index: int) -> int:
    data = model.buffers[graph.tensors[index].buffer].data
    if data is None or len(data) != 4:
        raise LookupError("a bound isn't a stored number")
    return int(np.frombuffer(np.asarray(data, np.uint8).tobytes(), "<i4")[0])
