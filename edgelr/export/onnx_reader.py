"""Reads a QDQ .onnx back: operators, grids and integer weights."""
from __future__ import annotations

from dataclasses import replace

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy import dtype, float32, int32, zeros
from numpy.typing import NDArray
from onnx import helper, numpy_helper, shape_inference

from edgelr.errors import BadInputError
from edgelr.export.written import WrittenFile, WrittenOperator, WrittenWeights, one_grid
from edgelr.vocabulary import Grid

WEIGHTED = {"Conv", "ConvTranspose", "Gemm"}


def read_onnx(data: bytes) -> WrittenFile:
    """The main graph of an .onnx. Raises BadInputError for bytes that are none, and for tensors kept in other files."""
    try:
        model = onnx.load_from_string(data)
        if not model.graph.output:
            raise ValueError("it has no output")
        if any(t.data_location == onnx.TensorProto.EXTERNAL for t in model.graph.initializer):
            raise ValueError("it keeps tensors in other files")
        return _read(shape_inference.infer_shapes(model).graph)
    except (DecodeError, ValueError, TypeError, LookupError, RuntimeError, shape_inference.InferenceError) as error:
        raise BadInputError("this .onnx file can't be read", f"{type(error).__name__}: {error}",
                            "give a whole .onnx file in one piece") from error


def _read(graph: onnx.GraphProto) -> WrittenFile:
    arrays = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    types = {v.name: _type(v.type.tensor_type.elem_type) for v in (*graph.input, *graph.value_info, *graph.output)}
    from_constants: dict[str, onnx.NodeProto] = {}
    operators: list[WrittenOperator] = []
    grids: dict[str, Grid] = {}
    quantized: dict[str, str] = {}  # an integer value -> the name of the real value that it stands for
    weights: dict[str, WrittenWeights] = {}

    def parts(value: str) -> tuple[NDArray[int32], NDArray[float32]]:
        """Integers and scales of a constant behind a DequantizeLinear."""
        node = from_constants[value]
        return arrays[node.input[0]], arrays[node.input[1]].reshape(-1)

    for node in graph.node:
        name = node.name or node.output[0]
        moving = [i for i in node.input if i and i not in arrays]
        operators.append(WrittenOperator(name, node.op_type, tuple(moving), tuple(node.output),
                                         tuple(types.get(i, "") for i in moving), tuple(types.get(o, "") for o in node.output)))
        if not moving and node.op_type == "DequantizeLinear":
            from_constants[node.output[0]] = node
        elif node.op_type in ("QuantizeLinear", "DequantizeLinear") and len(node.input) == 3:
            scale, zero = arrays[node.input[1]], arrays[node.input[2]]
            grid = one_grid(scale, zero, str(zero.dtype))
            if node.op_type == "QuantizeLinear":
                quantized[node.output[0]] = name.removesuffix("/q")
                if grid is not None:
                    grids[quantized[node.output[0]]] = grid
            elif grid != grids.get(quantized.get(node.input[0], "")):
                grids.pop(quantized.get(node.input[0], ""), None)  # taken off another grid than it was put on: on none
        elif node.op_type == "Transpose" and node.input[0] in from_constants:
            from_constants[node.output[0]] = from_constants[node.input[0]]  # a transposed convolution's weight, in torch's order before
        elif node.op_type == "Transpose" and node.input[0] in arrays:
            arrays[node.output[0]] = arrays[node.input[0]]
        elif node.op_type in ("MatMul", "MatMulInteger") and node.input[1] in arrays:
            weights[name] = WrittenWeights(arrays[node.input[1]].T, zeros(0, float32), zeros(0, float32), zeros(0, float32))
        elif node.op_type in WEIGHTED and node.input[1] in arrays:
            bias = arrays[node.input[2]] if node.input[2:] else zeros(0, float32)
            weights[name] = WrittenWeights(arrays[node.input[1]], zeros(0, float32), bias, zeros(0, float32))
        elif node.op_type in WEIGHTED and node.input[1] in from_constants:
            values, scale = parts(node.input[1])
            bias, bias_scale = parts(node.input[2]) if node.input[2:] and node.input[2] in from_constants else (
                zeros(0, int32), zeros(0, float32))
            if node.op_type == "Gemm" and not any(a.name == "transB" and a.i for a in node.attribute):
                values = values.T
            weights[name] = WrittenWeights(values, scale, bias, bias_scale)
        owner, _, part = name.rpartition("/")  # a product of matrices has its bias and its scale in nodes of their own
        constants = [arrays[i] for i in node.input if i in arrays]
        if part in ("bias", "scale") and owner in weights and constants:
            weights[owner] = replace(weights[owner], **{part: constants[0]})
    return WrittenFile(tuple(operators), grids, weights, tuple(o.name for o in graph.output))


def _type(code: int) -> str:
    return str(dtype(helper.tensor_dtype_to_np_dtype(code))) if code else ""
