"""What a call of a file costs beyond its operations: told by one tiny operation against a chain of them."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgelr.latency.litert_file import pack
from edgelr.vocabulary import Format

ONE, CHAIN = "one", "chain"  # the gauges' names
CHAINED = 33


def gauge_files(format: Format) -> dict[str, bytes]:
    """``one``: a file of one tiny int8 operation; ``chain``: one of ``CHAINED`` of them in a row."""
    make = _tflite if format == "tflite" else _onnx
    return {ONE: make(1), CHAIN: make(CHAINED)}


def call_us(us: Mapping[str, float]) -> float:
    """The microseconds of a call without its operations, from those of both gauges."""
    return max(us[ONE] - _each_us(us), 0.0)


def own_us(us: float, gauges_us: Mapping[str, float]) -> float:
    """The microseconds of an operation, from those of a file with it alone and of both gauges: without the call.

    Calls differ by about as much as the smallest operations take, and what a loop does a thousand times would cost nothing by that: no
    operation takes less than a tiny one in a chain.
    """
    return max(us - call_us(gauges_us), _each_us(gauges_us), 0.0)


def _each_us(us: Mapping[str, float]) -> float:
    return (us[CHAIN] - us[ONE]) / (CHAINED - 1)


def _tflite(count: int) -> bytes:
    """``count`` additions of one int8 number to itself."""
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


def _onnx(count: int) -> bytes:
    """``count`` maxima over one uint8 number: a kernel that ONNX Runtime neither joins nor leaves out."""
    from onnx import TensorProto, helper

    names = [f"x{i}" for i in range(count + 1)]
    nodes = [helper.make_node("MaxPool", [names[i]], [names[i + 1]], f"n{i}", kernel_shape=[1, 1]) for i in range(count)]
    entry, result = (helper.make_tensor_value_info(n, TensorProto.UINT8, [1, 1, 1, 1]) for n in (names[0], names[-1]))
    graph = helper.make_graph(nodes, "gauge", [entry], [result])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return bytes(model.SerializeToString(deterministic=True))
