"""Writes a quantised graph as .tflite: int8 in and out, channels last, int8 weights per channel, int32 bias."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import flatbuffers
import numpy as np
import torch
from ai_edge_litert import schema_py_generated as schema

from edgelr.errors import UnsupportedError
from edgelr.export.layout import disputed, layout_of, trivial
from edgelr.graph import Shape
from edgelr.graph.arithmetic import quantize
from edgelr.graph.ops import Weighted
from edgelr.graph.ops.base import Array, NodeLike
from edgelr.quantization import Quantized
from edgelr.vocabulary import Grid, Numbers

SCHEMA_VERSION = 3
ENUMS = {"fusedActivationFunction": schema.ActivationFunctionType, "padding": schema.Padding, "mode": schema.MirrorPadMode}
LEGACY_CODES = 127  # operators beyond this have their code in a wider field


class TfliteWriter:
    """Implements ``TfliteSpeller``. Constants bear no names: names cost bytes and the operator's output has one."""

    def __init__(self, q: Quantized) -> None:
        self.q = q
        self.layout = layout_of(q.graph)
        self.ops = {n.name: n.op for n in q.graph.nodes}
        node = disputed(q.graph, self.layout)
        if node is not None:
            raise self.unsupported(node.name, "this use of a tensor that convolutions hold channels last")
        self.subgraph = schema.SubGraphT()
        self.subgraph.tensors, self.subgraph.operators = [], []
        self.model = schema.ModelT()
        self.model.version, self.model.buffers, self.model.operatorCodes = SCHEMA_VERSION, [schema.BufferT()], []
        self.model.subgraphs = [self.subgraph]
        self.model.description = "edgelr"
        self.index: dict[str, int] = {}
        self.shared: dict[tuple[Any, ...], int] = {}

    # What the operations ask.

    def torch_shape(self, value: str) -> Shape:
        return self.q.graph.shapes[value]

    def shape(self, value: str) -> list[int]:
        shape = self.q.graph.shapes[value]
        if value not in self.layout.channels_last:
            return [1, *shape]
        return [1, 1, shape[1], shape[0]] if len(shape) == 2 else [1, shape[1], shape[2], shape[0]]

    def order(self, value: str) -> list[int | None]:
        """Torch's axis (batch 0) of each written axis; None for the height of 1 that a one-dimensional tensor gets."""
        rank = len(self.q.graph.shapes[value])
        if value not in self.layout.channels_last:
            return list(range(rank + 1))
        return [0, None, 2, 1] if rank == 2 else [0, 2, 3, 1]

    def axis(self, value: str, axis: int) -> int:
        return self.order(value).index(axis + 1)

    def columns(self, value: str) -> Any:
        return self.layout.columns.get(value)

    def grid(self, value: str) -> Grid:
        return self.q.grids[value]

    def numbers(self, node: str) -> Numbers:
        return self.q.numbers(node)

    def floating(self, value: str) -> bool:
        return value not in self.q.grids

    def unsupported(self, node: str, what: str) -> UnsupportedError:
        return UnsupportedError(f"{node}: {what} can't be written as .tflite", "no LiteRT operation computes it",
                                "write .onnx only (--format onnx), or change the model there")

    # Tensors.

    def _tensor(self, name: str, shape: Sequence[int], kind: str, data: Any = None, scale: Any = None, zero: int = 0, axis: int = 0) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, [int(s) for s in shape], getattr(schema.TensorType, kind), 0
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
            self.model.buffers.append(buffer)
            tensor.buffer = len(self.model.buffers) - 1
        if scale is not None:
            parameters = schema.QuantizationParametersT()
            parameters.scale = np.atleast_1d(np.asarray(scale, np.float32))
            parameters.zeroPoint = np.full(parameters.scale.shape, zero, np.int64)
            parameters.quantizedDimension = axis
            tensor.quantization = parameters
        self.subgraph.tensors.append(tensor)
        return len(self.subgraph.tensors) - 1

    def temporary(self, name: str, shape: Sequence[int], like: str) -> int:
        if self.floating(like):
            return self._tensor(name, shape, "FLOAT32")
        grid = self.grid(like)
        return self._tensor(name, shape, "INT8", None, grid.scale, grid.zero_point)

    def write(self, value: str) -> int:
        self.index[value] = self.temporary(value, self.shape(value), value)
        return self.index[value]

    def read(self, value: str) -> int:
        return self.index[value]

    def alias(self, value: str, to: str) -> None:
        self.index[value] = self.index[to]

    def ints(self, name: str, values: Any) -> int:
        array = np.asarray(values, np.int32)
        key = ("ints", array.shape, array.tobytes())
        if key not in self.shared:
            self.shared[key] = self._tensor("", array.shape, "INT32", array)
        return self.shared[key]

    def scalar(self, name: str, value: int, grid: Grid) -> int:
        return self._tensor("", [1], "INT8", np.array([value], np.int8), grid.scale, grid.zero_point)

    def reals(self, name: str, values: Any) -> int:
        array = np.asarray(values, np.float32)
        key = ("reals", array.shape, array.tobytes())
        if key not in self.shared:
            self.shared[key] = self._tensor("", array.shape, "FLOAT32", array)
        return self.shared[key]

    def constant(self, name: str, values: Any, grid: Grid | None) -> int:
        """A stored activation: float32, or on a grid."""
        if grid is None:
            return self.reals(name, values)
        integers = quantize(torch.as_tensor(values), grid).numpy().astype(np.int8)
        return self._tensor("", integers.shape, "INT8", integers, grid.scale, grid.zero_point)

    def parameters(self, node: NodeLike, arrange: Callable[[Array], Array], axis: int) -> list[int]:
        op, numbers = self.ops[node.name], self.numbers(node.name)
        assert isinstance(op, Weighted)
        real_bias = op.bias.detach().numpy()
        if numbers == "float":
            return [self.reals("", arrange(op.weight.detach().numpy())), self.reals("", real_bias)]
        q = self.q.weights[node.name]
        values, scale = arrange(q.weight.numpy()), q.scale.numpy()
        weight = self._tensor("", values.shape, "INT8", values, scale, 0, axis)
        if numbers == "dynamic":
            return [weight, self.reals("", real_bias)]
        bias = q.bias.numpy()
        return [weight, self._tensor("", bias.shape, "INT32", bias, np.float32(self.grid(node.inputs[0]).scale) * scale)]

    # Reshapes, whose meaning is torch's element order.

    def reshaping(self, value: str, to: str) -> tuple[int, int, list[int]]:
        """Source tensor, target tensor and written shape of a reshape. Reorders the source to torch's order where that matters."""
        source = self.read(value)
        shape = self.q.graph.shapes[value]
        if value in self.layout.channels_last and not trivial(shape) and to not in self.layout.columns:
            perm = [0, 3, 1, 2]
            written = self.shape(value)
            ordered = self.temporary(f"{to}/ordered", [written[a] for a in perm], value)
            self.emit("TRANSPOSE", 2, [source, self.ints("", perm)], ordered, "Transpose")
            source = ordered
        target = self.q.graph.shapes[to]
        if to not in self.layout.channels_last or trivial(target):
            return source, self.write(to), self.shape(to)
        written = [1, target[0], *((1, target[1]) if len(target) == 2 else target[1:])]
        return source, self.temporary(f"{to}/ordered", written, to), written

    def reordered(self, value: str, written: int) -> None:
        """Bring a reshape's result from torch's order to its written order."""
        if value not in self.index:
            self.emit("TRANSPOSE", 2, [written, self.ints("", [0, 2, 3, 1])], self.write(value), "Transpose")

    # Operators.

    def emit(self, code: str, version: int, inputs: Sequence[int], output: int, options: str = "", **fields: Any) -> None:
        operator = schema.OperatorT()
        operator.opcodeIndex = self._code(getattr(schema.BuiltinOperator, code), version)
        operator.inputs, operator.outputs = list(inputs), [output]
        if options:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, f"{options}Options")
            operator.builtinOptions = getattr(schema, f"{options}OptionsT")()
            for field, value in fields.items():
                named = isinstance(value, str) and field in ENUMS
                setattr(operator.builtinOptions, field, getattr(ENUMS[field], value) if named else value)
        self.subgraph.operators.append(operator)

    def _code(self, builtin: int, version: int) -> int:
        for i, code in enumerate(self.model.operatorCodes):
            if (code.builtinCode, code.version) == (builtin, version):
                return i
        code = schema.OperatorCodeT()
        code.builtinCode, code.version, code.deprecatedBuiltinCode = builtin, version, min(builtin, LEGACY_CODES)
        self.model.operatorCodes.append(code)
        return len(self.model.operatorCodes) - 1

    def packed(self) -> bytes:
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def tflite_bytes(q: Quantized) -> bytes:
    """The .tflite as bytes: int8 in and out, batch 1. A 4-d input [1, C, H, W] is written [1, H, W, C], a 3-d one
    [1, C, L] as [1, 1, L, C].

    Raises UnsupportedError naming the operation that can't be written.
    """
    w, graph = TfliteWriter(q), q.graph
    w.subgraph.inputs = [w.write(graph.input)]
    for node in graph.nodes:
        node.op.tflite(w, node)
    w.subgraph.outputs = [w.read(graph.output)]
    return w.packed()
