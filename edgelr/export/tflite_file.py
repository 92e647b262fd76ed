"""Writes a quantised graph as .tflite: int8 in and out, channels last, int8 weights per channel, int32 bias."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import flatbuffers
import numpy as np
import torch
from ai_edge_litert import schema_py_generated as schema

from edgelr.errors import UnsupportedError
from edgelr.export.layout import arranged, layout_of
from edgelr.export.moves import Axis, Move, axes_of, move, reshaped
from edgelr.graph import Shape
from edgelr.graph.arithmetic import quantize
from edgelr.graph.ops import Permute, Weighted
from edgelr.graph.ops.base import Array, NodeLike
from edgelr.quantization import Quantized
from edgelr.vocabulary import Grid, Numbers

SCHEMA_VERSION = 3
ENUMS = {"fusedActivationFunction": schema.ActivationFunctionType, "padding": schema.Padding, "mode": schema.MirrorPadMode}
LEGACY_CODES = 127  # operators beyond this have their code in a wider field


class TfliteWriter:
    """Implements ``TfliteSpeller``. Constants bear no names: names cost bytes and the operator's output has one."""

    def __init__(self, q: Quantized) -> None:
        graph, grids = arranged(q.graph), dict(q.grids)
        for node in graph.nodes:  # what arranging put in moves values only
            if node.name not in q.graph.shapes and node.inputs[0] in grids:
                grids[node.name] = grids[node.inputs[0]]
        self.q = replace(q, graph=graph, grids=grids)
        self.layout = layout_of(graph)
        self.ops = {n.name: n.op for n in graph.nodes}
        self.users = graph.users()
        self.subgraph_now = _empty_subgraph()
        self.model = schema.ModelT()
        self.model.version, self.model.buffers, self.model.operatorCodes = SCHEMA_VERSION, [schema.BufferT()], []
        self.model.subgraphs = [self.subgraph_now]
        self.model.description = "edgelr"
        self.index: dict[str, int] = {}
        self.moved: dict[str, tuple[int, list[Axis], list[Axis]]] = {}  # what ``_from`` gives, of values that moves lead to
        self.shared: dict[tuple[Any, ...], int] = {}
        self.buffers: dict[bytes, int] = {}

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

    def _buffer(self, data: bytes, once: bool) -> int:
        """A buffer with these bytes; ``once``: the one that has them already, where there is one."""
        if once and data in self.buffers:
            return self.buffers[data]
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(data, np.uint8)
        self.model.buffers.append(buffer)
        if once:
            self.buffers[data] = len(self.model.buffers) - 1
        return len(self.model.buffers) - 1

    def _tensor(
        self, name: str, shape: Sequence[int], kind: str, data: Any = None, scale: Any = None, zero: int = 0, axis: int = 0,
        once: bool = False,
    ) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, [int(s) for s in shape], getattr(schema.TensorType, kind), 0
        if data is not None:
            tensor.buffer = self._buffer(np.ascontiguousarray(data).tobytes(), once)
        if scale is not None:
            parameters = schema.QuantizationParametersT()
            parameters.scale = np.atleast_1d(np.asarray(scale, np.float32))
            parameters.zeroPoint = np.full(parameters.scale.shape, zero, np.int64)
            parameters.quantizedDimension = axis
            tensor.quantization = parameters
        self.subgraph_now.tensors.append(tensor)
        return len(self.subgraph_now.tensors) - 1

    def temporary(self, name: str, shape: Sequence[int], like: str) -> int:
        if self.floating(like):
            return self._tensor(name, shape, "FLOAT32")
        grid = self.grid(like)
        return self._tensor(name, shape, "INT8", None, grid.scale, grid.zero_point)

    def write(self, value: str) -> int:
        self.index[value] = self.temporary(value, self.shape(value), value)
        return self.index[value]

    def read(self, value: str) -> int:
        if value not in self.index:
            root, written, axes = self.moved[value]
            step = move(written, [[] if a is None else axes[a] for a in self.order(value)])
            self.index[value] = self._emit_move(root, step, self.shape(value), value, value)
        return self.index[value]

    def alias(self, value: str, to: str) -> None:
        self.index[value] = self.index[to]

    def tensor(self, kind: str, shape: Sequence[int], variable: bool = False) -> int:
        """A tensor without a name; a variable one keeps its values from call to call."""
        index = self._tensor("", shape, kind)
        self.subgraph_now.tensors[index].isVariable = variable
        return index

    def weights(self, values: Array, scale: Any) -> int:
        key = ("weights", values.shape, values.tobytes(), np.asarray(scale, np.float32).tobytes())
        if key not in self.shared:
            self.shared[key] = self._tensor("", values.shape, "INT8", values, scale)
        return self.shared[key]

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
        key = ("parameters", values.shape, values.tobytes(), scale.tobytes(), axis)
        if key not in self.shared:
            self.shared[key] = self._tensor("", values.shape, "INT8", values, scale, 0, axis, once=True)
        weight = self.shared[key]
        if numbers == "dynamic":
            return [weight, self.reals("", real_bias)]
        bias = q.bias.numpy()
        return [weight, self._tensor("", bias.shape, "INT32", bias, np.float32(self.grid(node.inputs[0]).scale) * scale)]

    # Reshapes and permutations, which are written where something reads what they lead to.

    def move(self, node: NodeLike) -> None:
        """A reshape or a permutation. Several readers share one move."""
        source, op = node.inputs[0], self.ops[node.name]
        if node.name in self.layout.columns:  # flattened in the order that it has: the linear layers' columns follow
            self.emit("RESHAPE", 1, [self.read(source), self.ints("", self.shape(node.name))], self.write(node.name), "Reshape",
                      newShape=self.shape(node.name))
            return
        root, written, axes = self._from(source)
        target = [1, *self.torch_shape(node.name)]
        own = [axes[0], *(axes[a + 1] for a in op.axes)] if isinstance(op, Permute) else reshaped(axes, target)
        if own is None:  # it parts what the chain so far keeps together: bring that to torch's order first
            length = prod(self.torch_shape(source))
            root = self._emit_move(root, move(written, [[], [a for axis in axes for a in axis]]), [1, length], f"{node.name}/flat", source)
            written = axes_of([1, length])
            own = reshaped(written, target)
            assert own is not None
        self.moved[node.name] = root, written, own
        if len(self.users[node.name]) > 1:
            self.read(node.name)

    def _from(self, value: str) -> tuple[int, list[Axis], list[Axis]]:
        """The tensor that a value is moved from, that tensor's axes, and the value's."""
        if value in self.moved and value not in self.index:
            return self.moved[value]
        axes = axes_of([1, *self.torch_shape(value)])
        return self.read(value), [[] if a is None else axes[a] for a in self.order(value)], axes

    def _emit_move(self, root: int, step: Move, shape: list[int], name: str, like: str) -> int:
        """Write what a move needs: nothing, a reshape, or a transpose with a reshape on either side where the shapes ask for it."""
        have = [int(n) for n in self.subgraph_now.tensors[root].shape]
        if step.order is not None:
            if have != list(step.before):
                root = self._emit_reshape(root, list(step.before), f"{name}/regrouped", like)
            have = list(step.between)
            moved = self.temporary(name if have == shape else f"{name}/ordered", have, like)
            self.emit("TRANSPOSE", 2, [root, self.ints("", step.order)], moved, "Transpose")
            root = moved
        return root if have == shape else self._emit_reshape(root, shape, name, like)

    def _emit_reshape(self, root: int, shape: list[int], name: str, like: str) -> int:
        result = self.temporary(name, shape, like)
        self.emit("RESHAPE", 1, [root, self.ints("", shape)], result, "Reshape", newShape=shape)
        return result

    # Operators.

    def subgraph(self, write: Callable[[], tuple[list[int], list[int]]]) -> int:
        """A further subgraph; it has tensors of its own, and no access to those outside."""
        outside = self.subgraph_now, self.shared
        self.subgraph_now, self.shared = _empty_subgraph(), {}
        self.model.subgraphs.append(self.subgraph_now)
        index = len(self.model.subgraphs) - 1
        self.subgraph_now.inputs, self.subgraph_now.outputs = write()
        self.subgraph_now, self.shared = outside
        return index

    def emit(self, code: str, version: int, inputs: Sequence[int], output: int | Sequence[int], options: str = "", **fields: Any) -> None:
        operator = schema.OperatorT()
        operator.opcodeIndex = self._code(getattr(schema.BuiltinOperator, code), version)
        operator.inputs, operator.outputs = list(inputs), [output] if isinstance(output, int) else list(output)
        if options:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, f"{options}Options")
            operator.builtinOptions = getattr(schema, f"{options}OptionsT")()
            for field, value in fields.items():
                named = isinstance(value, str) and field in ENUMS
                setattr(operator.builtinOptions, field, getattr(ENUMS[field], value) if named else value)
        self.subgraph_now.operators.append(operator)

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


def _empty_subgraph() -> Any:
    subgraph = schema.SubGraphT()
    subgraph.tensors, subgraph.operators = [], []
    return subgraph


def tflite_bytes(q: Quantized) -> bytes:
    """The .tflite as bytes: int8 in and out, batch 1. A 4-d input [1, C, H, W] is written [1, H, W, C], a 3-d one
    [1, C, L] as [1, 1, L, C]. A step network's states are further inputs behind the first, and further outputs in the same order.

    Raises UnsupportedError naming the operation that can't be written.
    """
    w = TfliteWriter(q)
    graph = w.q.graph
    w.subgraph_now.inputs = [w.write(graph.input), *(w.write(s.before) for s in graph.states)]
    for node in graph.nodes:
        node.op.tflite(w, node)
    w.subgraph_now.outputs = [w.read(graph.output), *(w.read(s.after) for s in graph.states)]
    return w.packed()
