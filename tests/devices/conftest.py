"""Small int8 networks written from scratch as bytes, in both formats: what the tests of devices and latency run."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest


@dataclass(frozen=True)
class Conv:
    """One 'same' convolution with ReLU: channels out, kernel, stride. ``skip`` adds the input of the layer afterwards."""

    name: str
    channels: int
    kernel: int = 3
    stride: int = 1
    skip: bool = False


IN_SCALE, ACT_SCALE, OUT_SCALE = 0.05, 0.02, 0.01
IN_ZERO, ACT_ZERO, OUT_ZERO = 3, -128, -5


def _weights(layers: list[Conv], classes: int, channels: int, seed: int) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Integer weights (O, I, kh, kw), their float32 scales per output channel, and integer biases."""
    rng = np.random.default_rng(seed)
    out = {}
    for name, c_out, c_in, k in [
        *((conv.name, conv.channels, c, conv.kernel) for conv, c in zip(layers, [channels, *(c.channels for c in layers)], strict=False)),
        ("fc", classes, layers[-1].channels, 1),
    ]:
        w = rng.integers(-127, 128, (c_out, c_in, k, k)).astype(np.int8)
        scale = (rng.uniform(0.5, 1.5, c_out) / (127 * np.sqrt(c_in * k * k))).astype(np.float32)
        out[name] = (w, scale, rng.integers(-200, 200, c_out).astype(np.int32))
    return out


def build_tflite(layers: list[Conv], *, size: int = 8, channels: int = 3, classes: int = 5, seed: int = 0) -> bytes:
    """conv/ReLU chain -> MEAN -> FULLY_CONNECTED, int8 in and out, channels last, batch 1."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.buffers, model.operatorCodes, model.subgraphs = 3, [schema.BufferT()], [], [graph]
    graph.tensors, graph.operators = [], []
    codes: dict[int, int] = {}

    def tensor(name: str, shape: list[int], kind: int, data: np.ndarray | None = None, scale: object = None, zero: int = 0) -> int:
        t = schema.TensorT()
        t.name, t.shape, t.type, t.buffer = name.encode(), shape, kind, 0
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
            model.buffers.append(buffer)
            t.buffer = len(model.buffers) - 1
        if scale is not None:
            q = schema.QuantizationParametersT()
            q.scale = np.atleast_1d(np.asarray(scale, np.float32))
            q.zeroPoint, q.quantizedDimension = np.full(q.scale.shape, zero, np.int64), 0
            t.quantization = q
        graph.tensors.append(t)
        return len(graph.tensors) - 1

    def op(code: int, version: int, inputs: list[int], output: int, kind: int, options: object) -> None:
        if code not in codes:
            c = schema.OperatorCodeT()
            c.builtinCode, c.deprecatedBuiltinCode, c.version = code, min(code, 127), version
            model.operatorCodes.append(c)
            codes[code] = len(model.operatorCodes) - 1
        o = schema.OperatorT()
        o.opcodeIndex, o.inputs, o.outputs, o.builtinOptionsType, o.builtinOptions = codes[code], inputs, [output], kind, options
        graph.operators.append(o)

    i8, i32 = schema.TensorType.INT8, schema.TensorType.INT32
    weights = _weights(layers, classes, channels, seed)
    x = tensor("input", [1, size, size, channels], i8, scale=IN_SCALE, zero=IN_ZERO)
    graph.inputs = [x]
    scale, hw, c = IN_SCALE, size, channels
    for conv in layers:
        w, ws, b = weights[conv.name]
        wi = tensor(conv.name + "/w", [conv.channels, conv.kernel, conv.kernel, c], i8, w.transpose(0, 2, 3, 1), ws)
        bi = tensor(conv.name + "/b", [conv.channels], i32, b, ws * np.float32(scale))
        new = -(-hw // conv.stride)
        y = tensor(conv.name, [1, new, new, conv.channels], i8, scale=ACT_SCALE, zero=ACT_ZERO)
        options = schema.Conv2DOptionsT()
        options.padding, options.strideH, options.strideW = schema.Padding.SAME, conv.stride, conv.stride
        options.fusedActivationFunction = schema.ActivationFunctionType.RELU
        op(schema.BuiltinOperator.CONV_2D, 3, [x, wi, bi], y, schema.BuiltinOptions.Conv2DOptions, options)
        if conv.skip:
            z = tensor(conv.name + "_add", [1, new, new, conv.channels], i8, scale=ACT_SCALE, zero=ACT_ZERO)
            op(schema.BuiltinOperator.ADD, 2, [x, y], z, schema.BuiltinOptions.AddOptions, schema.AddOptionsT())
            y = z
        x, scale, hw, c = y, ACT_SCALE, new, conv.channels
    axes = tensor("mean/axes", [2], i32, np.array([1, 2], np.int32))
    y = tensor("mean", [1, c], i8, scale=ACT_SCALE, zero=ACT_ZERO)
    op(schema.BuiltinOperator.MEAN, 2, [x, axes], y, schema.BuiltinOptions.ReducerOptions, schema.ReducerOptionsT())
    w, ws, b = weights["fc"]
    wi = tensor("fc/w", [classes, c], i8, w.reshape(classes, c), ws)
    bi = tensor("fc/b", [classes], i32, b, ws * np.float32(ACT_SCALE))
    out = tensor("fc", [1, classes], i8, scale=OUT_SCALE, zero=OUT_ZERO)
    fully_connected = schema.BuiltinOperator.FULLY_CONNECTED
    op(fully_connected, 4, [y, wi, bi], out, schema.BuiltinOptions.FullyConnectedOptions, schema.FullyConnectedOptionsT())
    graph.outputs = [out]
    b = flatbuffers.Builder(1 << 16)
    b.Finish(model.Pack(b), b"TFL3")
    return bytes(b.Output())


def build_onnx(
    layers: list[Conv], *, size: int = 8, channels: int = 3, classes: int = 5, seed: int = 0, integer_tail: bool = True
) -> bytes:
    """The same network as QDQ: float input "input" [N, C, H, W], float output; u8 activations, s8 weights, int32 biases."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []
    weights = _weights(layers, classes, channels, seed)

    def const(name: str, value: np.ndarray) -> str:
        constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def grid(name: str, scale: float, zero: int) -> list[str]:
        return [const(name + ".scale", np.float32(scale)), const(name + ".zero", np.uint8(zero + 128))]

    def quantised(value: str, name: str, scale: float, zero: int) -> str:
        pair = grid(name, scale, zero)
        nodes.append(helper.make_node("QuantizeLinear", [value, *pair], [name + ".q"], name + "/q"))
        nodes.append(helper.make_node("DequantizeLinear", [name + ".q", *pair], [name + ".dq"], name + "/dq"))
        return name + ".dq"

    def constant(name: str, value: np.ndarray, scale: np.ndarray) -> str:
        inputs = [const(name, value), const(name + ".scale", scale), const(name + ".zero", np.zeros(scale.shape, value.dtype))]
        nodes.append(helper.make_node("DequantizeLinear", inputs, [name + ".dq"], name + "/dq", axis=0))
        return name + ".dq"

    x, scale = quantised("input", "input.grid", IN_SCALE, IN_ZERO), np.float32(IN_SCALE)
    for conv in layers:
        w, ws, b = weights[conv.name]
        operands = [x, constant(conv.name + ".w", w, ws), constant(conv.name + ".b", b, ws * scale)]
        pads = [(conv.kernel - 1) // 2] * 4
        attributes = {"kernel_shape": [conv.kernel] * 2, "strides": [conv.stride] * 2, "pads": pads}
        nodes.append(helper.make_node("Conv", operands, [conv.name + ".out"], conv.name, **attributes))
        nodes.append(helper.make_node("Relu", [conv.name + ".out"], [conv.name + ".act"], conv.name + "_relu"))
        y = quantised(conv.name + ".act", conv.name + ".grid", ACT_SCALE, ACT_ZERO)
        if conv.skip:
            nodes.append(helper.make_node("Add", [x, y], [conv.name + "_add.out"], conv.name + "_add"))
            y = quantised(conv.name + "_add.out", conv.name + "_add.grid", ACT_SCALE, ACT_ZERO)
        x, scale = y, np.float32(ACT_SCALE)
    nodes.append(helper.make_node("GlobalAveragePool", [x], ["mean.out"], "mean"))
    x = quantised("mean.out", "mean.grid", ACT_SCALE, ACT_ZERO)
    nodes.append(helper.make_node("Flatten", [x], ["flat.out"], "flat", axis=1))
    x = quantised("flat.out", "flat.grid", ACT_SCALE, ACT_ZERO)
    w, ws, b = weights["fc"]
    operands = [x, constant("fc.w", w.reshape(classes, -1), ws), constant("fc.b", b, ws * scale)]
    nodes.append(helper.make_node("Gemm", operands, ["fc.out"], "fc", transB=1))
    output = quantised("fc.out", "output.grid", OUT_SCALE, OUT_ZERO) if integer_tail else "fc.out"
    graph = helper.make_graph(
        nodes, "tiny", [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", channels, size, size])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", classes])], constants,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


TINY = [Conv("stem", 8), Conv("block.0", 8, skip=True), Conv("block.1", 8, skip=True), Conv("block.2", 16, stride=1, kernel=1)]


@pytest.fixture(scope="session")
def tflite_bytes() -> bytes:
    return build_tflite(TINY)


@pytest.fixture(scope="session")
def onnx_bytes() -> bytes:
    return build_onnx(TINY)


@pytest.fixture(scope="session")
def float_tail_onnx() -> bytes:
    return build_onnx(TINY, integer_tail=False)


@pytest.fixture(scope="session")
def deep() -> dict[str, bytes]:
    """A network with enough work in it for per-op times to mean something: 64 channels at 16x16, identical blocks."""
    stage = [Conv("stage.0", 64), *(Conv(f"stage.{i}", 64, skip=True) for i in range(1, 5))]
    layers = [Conv("stem", 32), *stage, Conv("head.0", 16, 1), Conv("head.1", 64, 1)]
    return {"tflite": build_tflite(layers, size=16), "onnx": build_onnx(layers, size=16)}



@pytest.fixture(scope="session")
def chain_bytes() -> bytes:
    """A network without skips: each operator takes what the one before it gives."""
    return build_tflite([Conv("a", 8), Conv("b", 8, 1, 2), Conv("c", 16)])


@pytest.fixture(scope="session")
def passing_bytes() -> bytes:
    """A ``.tflite`` file whose int8 output [1, 4096] is its input (one RESHAPE)."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model, graph, code, operator = schema.ModelT(), schema.SubGraphT(), schema.OperatorCodeT(), schema.OperatorT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.RESHAPE
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, [0], [1]
    operator.builtinOptionsType, operator.builtinOptions = schema.BuiltinOptions.ReshapeOptions, schema.ReshapeOptionsT()
    operator.builtinOptions.newShape = [1, 4096]
    model.version, model.buffers, model.operatorCodes, model.subgraphs = 3, [schema.BufferT()], [code], [graph]
    graph.tensors, graph.operators, graph.inputs, graph.outputs = [schema.TensorT(), schema.TensorT()], [operator], [0], [1]
    for tensor, name in zip(graph.tensors, ("input", "output"), strict=True):
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, [1, 4096], schema.TensorType.INT8, 0
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = [IN_SCALE], [IN_ZERO]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
