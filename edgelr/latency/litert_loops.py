"""Loops in a ``.tflite`` file: how often they turn, what they multiply, and each as a file of its own."""
from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from edgelr.errors import UnsupportedError
from edgelr.latency.litert_file import moved, mover, pack
from edgelr.latency.litert_words import operation_of
from edgelr.latency.loops import Turns
from edgelr.latency.operation import Operation

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


def loop_of(schema: Any, model: Any, graph: Any, operator: Any) -> Operation:
    """A WHILE as one operation, with all that turns in it. Raises what ``turns`` raises, and UnsupportedError for a loop in a loop."""
    count = turns(schema, model, graph, operator)
    _, body, _, _, place = _parts(model, operator)
    inside = [operation_of(schema, model, body, o) for o in body.operators]
    if any(o.op == "loop" for o in inside):
        raise UnsupportedError(_UNTOLD, "there is a loop in a loop.")
    products = [o for o in inside if o.op == "linear"]
    shapes = [body.tensors[int(i)].shape for n, i in enumerate(body.inputs) if n != place]
    taken = tuple(() if shape is None else tuple(int(n) for n in shape) for shape in shapes)
    detail = str(Turns.of(count, ((o.inputs[0][-1], o.output[-1]) for o in products)))
    numbers = products[0].numbers if products else "float"
    return replace(operation_of(schema, model, graph, operator), numbers=numbers, inputs=taken, detail=detail)


def whole_loop(schema: Any, model: Any, graph: Any, operator: Any) -> bytes:
    """A file with the loop alone, and all that turns in it; for a WHILE that ``loop_of`` takes."""
    alone = schema.ModelT()
    alone.version, alone.buffers, alone.subgraphs, alone.operatorCodes = 3, [schema.BufferT()], [], []
    graphs = [schema.SubGraphT() for _ in range(3)]
    condition, body, less, _, _ = _parts(model, operator)
    for inside, source, work in zip(graphs, (graph, condition, body), ([operator], [less], body.operators), strict=True):
        inside.tensors = []
        move = mover(model, source, alone, inside)
        inside.operators = [moved(model, alone, o, move) for o in work]
        if source is graph:
            inside.inputs = [i for i in inside.operators[0].inputs if inside.tensors[i].buffer == 0]
            inside.outputs = inside.operators[0].outputs
        else:
            inside.inputs, inside.outputs = ([move(int(i)) for i in ends] for ends in (source.inputs, source.outputs))
    alone.subgraphs = graphs
    options = type(operator.builtinOptions)()
    options.condSubgraphIndex, options.bodySubgraphIndex = 1, 2
    graphs[0].operators[0].builtinOptions = options
    return pack(alone)


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
