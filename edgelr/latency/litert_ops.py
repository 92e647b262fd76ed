"""Prices of a ``.tflite`` file's operators on this machine, from single-operator cuts (LiteRT has no profiler in Python)."""
from __future__ import annotations

from collections.abc import Hashable
from statistics import median
from typing import Any

from edgelr.devices import Session, Stopwatch, open_session
from edgelr.latency.litert_cut import cut_operators, pack
from edgelr.latency.op_times import OpTimes

_CHAIN = 33
_WARM_UP = 5


def litert_op_times(data: bytes, *, threads: int = 1, rounds: int = 50) -> OpTimes:
    """Microseconds of each operator of an int8 or float ``.tflite`` file, by the name of its first output tensor.

    Each operator is cut out into a file of its own, and the cost of a call is taken off. Operators that are equal are timed once. A
    round calls every operator once, in the order of the network, and the whole file: so weights come from the cache that they come
    from inside the network, and noise hits all alike. On a shared x86-64 machine (ai-edge-litert 2.3.0, one thread) the sum was
    1-10 % above the whole for ResNet-like networks of 0.2 to 11 ms, dense and factorised.
    """
    cuts = list(cut_operators(data))
    sessions: dict[Hashable, Session] = {}
    for cut in cuts:
        if cut.key not in sessions:
            sessions[cut.key] = open_session(cut.data, "tflite", threads)
    gauges = {"whole": data, "one": _adds(1), "chain": _adds(_CHAIN)}
    every = dict(sessions)
    every.update((name, open_session(file, "tflite", threads)) for name, file in gauges.items())
    watch = Stopwatch(threads)
    seconds: dict[Hashable, list[float]] = {key: [] for key in every}
    for run in range(_WARM_UP + rounds):
        for key, session in every.items():
            if key in gauges:
                session.invoke()
            spent = watch.seconds(session.invoke)
            if run >= _WARM_UP:
                seconds[key].append(spent)
    us = {key: median(values) * 1e6 for key, values in seconds.items()}
    for session in every.values():
        session.close()
    # What a one-operator file costs beyond one more operator in a file that already runs.
    call_us = us["one"] - (us["chain"] - us["one"]) / (_CHAIN - 1)
    named: dict[str, float] = {}
    for cut in cuts:
        named[cut.name] = named.get(cut.name, 0.0) + max(us[cut.key] - call_us, 0.0)
    return OpTimes("litert", threads, named, 0.0, us["whole"])


def _adds(count: int) -> bytes:
    """A file of ``count`` additions of one int8 number: next to nothing but the cost of a call and of an operator."""
    from ai_edge_litert import schema_py_generated as schema

    model, graph, code = schema.ModelT(), schema.SubGraphT(), schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.ADD
    code.version = 2
    model.version, model.buffers, model.operatorCodes, model.subgraphs = 3, [schema.BufferT()], [code], [graph]
    graph.tensors, graph.operators = [_number(schema, i) for i in range(count + 1)], []
    for i in range(count):
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = 0, [i, i], [i + 1]
        operator.builtinOptionsType, operator.builtinOptions = schema.BuiltinOptions.AddOptions, schema.AddOptionsT()
        graph.operators.append(operator)
    graph.inputs, graph.outputs = [0], [count]
    return pack(model)


def _number(schema: Any, index: int) -> Any:
    tensor, grid = schema.TensorT(), schema.QuantizationParametersT()
    grid.scale, grid.zeroPoint = [0.1], [0]
    tensor.name, tensor.shape, tensor.type, tensor.buffer, tensor.quantization = f"x{index}", [1, 1, 1, 1], schema.TensorType.INT8, 0, grid
    return tensor
