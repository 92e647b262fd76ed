"""Writes a quantised graph as .onnx: QDQ, u8 activations, s8 weights per channel, which ONNX Runtime fuses fully."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from edgelr.graph import IntegerWeights, Shape
from edgelr.graph.ops import NO_CLAMP, RELU, Concat, Dequantize, Quantize, Requantize, Weighted
from edgelr.graph.ops.base import NodeLike
from edgelr.quantization import Quantized
from edgelr.vocabulary import Grid, Numbers

OPSET = 20
IR_VERSION = 10


class OnnxWriter:
    """Implements ``OnnxSpeller``. Every value is real between its DequantizeLinear and the next QuantizeLinear."""

    def __init__(self, q: Quantized) -> None:
        self.q = q
        self.users = q.graph.users()
        self.ops = {n.name: n.op for n in q.graph.nodes}
        self.nodes: list[ir.Node] = []
        self.scope = ""  # what the names of values in a body start with: no name may be used inside and outside
        self.constants: dict[tuple[Any, ...], ir.Value] = {}
        self.real: dict[str, ir.Value] = {}
        self.shared: dict[tuple[str | None, ...], ir.Value] = {}

    def torch_shape(self, value: str) -> Shape:
        return self.q.graph.shapes[value]

    def grid(self, value: str) -> Grid:
        return self.q.grids[value]

    def numbers(self, node: str) -> Numbers:
        return self.q.numbers(node)

    def floating(self, value: str) -> bool:
        return value not in self.q.grids

    def integer_weights(self, node: str) -> IntegerWeights:
        return self.q.weights[node]

    def read(self, value: str) -> ir.Value:
        return self.real[value]

    def joined(self, value: str) -> bool:
        """Whether only concatenations read this value."""
        return value != self.q.graph.output and all(isinstance(n.op, Concat) for n in self.users[value])

    def enclosed(self, value: str) -> bool:
        """Whether an operation in float that reads this value has boundaries on all sides."""
        def ends(name: str) -> bool:
            readers = self.users[name]
            return bool(readers) and all(isinstance(n.op, Quantize) or (isinstance(n.op, Requantize) and ends(n.name)) for n in readers)

        return any(all(isinstance(self.ops.get(i), Dequantize) for i in n.inputs) and ends(n.name) for n in self.users[value])

    def hand_on(self, value: str, real: ir.Value) -> None:
        """Let a value be read as it is, without putting it on its grid: its reader does."""
        self.real[value] = real

    def constant(self, name: str, values: Any) -> ir.Value:
        """A stored array. Equal ones are stored once (the shape of every flatten, say); their names are short, since names cost bytes."""
        tensor = ir.tensor(np.asarray(values))
        key = (str(tensor.dtype), tuple(tensor.shape.numpy()), tensor.tobytes())
        if key not in self.constants:
            tensor.name = f"c{len(self.constants)}"
            self.constants[key] = ir.Value(
                name=tensor.name, shape=ir.Shape(tensor.shape.numpy()), type=ir.TensorType(tensor.dtype), const_value=tensor
            )
        return self.constants[key]

    def reals(self, values: Any) -> ir.Value:
        """A stored float32 array."""
        return self.constant("", np.asarray(values, np.float32))

    def emit(self, op: str, inputs: Any, name: str, *, domain: str = "", outputs: int = 1, **attributes: Any) -> Any:
        """One node; its output, or a tuple of them where there are several."""
        node = self._node(op, inputs, name, f"r{len(self.nodes)}", domain, outputs, **attributes)
        return node.outputs[0] if outputs == 1 else tuple(node.outputs)

    def _single(self, op: str, inputs: Any, name: str) -> ir.Value:
        return self._node(op, inputs, name, f"r{len(self.nodes)}").outputs[0]

    def _node(self, op: str, inputs: Any, name: str, output: str, domain: str = "", outputs: int = 1, **attributes: Any) -> ir.Node:
        node = ir.Node(domain, op, inputs, ir.convenience.convert_attributes(attributes), name=name, num_outputs=outputs)
        for i, made in enumerate(node.outputs):
            made.name = self.scope + (output if i == 0 else f"{output}.{i}")
        self.nodes.append(node)
        return node

    def body(self, write: Callable[..., Sequence[ir.Value]], widths: Sequence[int]) -> ir.Graph:
        """A graph inside a node; it may read stored arrays, which lie outside."""
        outside = self.nodes, self.scope
        self.nodes, self.scope = [], f"{self.scope}b{len(self.nodes)}."
        inputs = [ir.Value(name=f"{self.scope}i{i}", shape=ir.Shape(["batch", n]), type=ir.TensorType(ir.DataType.FLOAT))
                  for i, n in enumerate(widths)]
        graph = ir.Graph(inputs, list(write(*inputs)), nodes=self.nodes, name=self.scope)
        for value in graph.outputs:
            value.dtype = ir.DataType.FLOAT
        self.nodes, self.scope = outside
        return graph

    def _dequantized(self, values: Any, scale: Any) -> ir.Value:
        """A stored tensor in real numbers, symmetric: its zero point is 0, which is what leaving it out says.

        ONNX Runtime makes an integer Gemm only of matrices whose zero point is written out; convolutions do without.
        """
        inputs = [self.constant("", values), self.constant("", scale)]
        if values.ndim == 2:
            inputs.append(self.constant("", np.zeros(len(scale), values.dtype)))
        key = tuple(i.name for i in inputs)
        if key not in self.shared:
            self.shared[key] = self._node("DequantizeLinear", inputs, "", f"d{len(self.nodes)}", axis=0).outputs[0]
        return self.shared[key]

    def parameters(self, node: NodeLike) -> list[ir.Value]:
        op = self.ops[node.name]
        assert isinstance(op, Weighted)
        assert self.numbers(node.name) != "dynamic", "only linear layers have a dynamic form in an .onnx"
        if self.numbers(node.name) == "float":
            return [self.reals(op.weight.detach().numpy()), self.reals(op.bias.detach().numpy())]
        q = self.q.weights[node.name]
        scale = q.scale.numpy()
        bias_scale = np.float32(self.grid(node.inputs[0]).scale) * scale
        return [self._dequantized(q.weight.numpy(), scale), self._dequantized(q.bias.numpy(), bias_scale)]

    def scalar(self, name: str, value: int, grid: Grid) -> ir.Value:
        """One number of a grid, as a real value."""
        inputs = [self.constant("", np.uint8(value + 128)), self.constant("", np.float32(grid.scale)),
                  self.constant("", np.uint8(grid.zero_point + 128))]
        return self._single("DequantizeLinear", inputs, f"{name}/dequantize")

    def pin(self, real: ir.Value, name: str, like: str) -> ir.Value:
        """A real value put on the grid of ``like``, as the integer value NAME/q, and taken off again; as it is where that has none."""
        if self.floating(like):
            return real
        grid = self.grid(like)
        parameters = [self.constant("", np.float32(grid.scale)), self.constant("", np.uint8(grid.zero_point + 128))]
        on = self._node("QuantizeLinear", [real, *parameters], "", f"{name}/q").outputs[0]
        return self._node("DequantizeLinear", [on, *parameters], "", f"d{len(self.nodes)}").outputs[0]

    def write(self, value: str, real: ir.Value) -> None:
        self.real[value] = self._bounded(value, real) if self.floating(value) else self.pin(real, value, value)

    def _bounded(self, value: str, real: ir.Value) -> ir.Value:
        """A float result within its operation's bounds, which a grid would have kept by saturation."""
        low, high = self.ops[value].clamp if value in self.ops else NO_CLAMP
        if (low, high) == NO_CLAMP:
            return real
        if (low, high) == RELU:
            return self._single("Relu", [real], f"{value}/relu")
        bounds = [None if abs(bound) == float("inf") else self.constant("", np.float32(bound)) for bound in (low, high)]
        return self._single("Clip", [real, *bounds], f"{value}/clip")


def onnx_bytes(q: Quantized, name: str = "model") -> bytes:
    """The .onnx as bytes: float32 input "input" and output "output", any batch, integers inside.

    Each state NAME of a step network is a further input NAME and a further output NAME/next.
    """
    w, graph = OnnxWriter(q), q.graph

    def described(value: ir.Value, key: str) -> ir.Value:
        value.shape, value.dtype = ir.Shape(["batch", *graph.shapes[key]]), ir.DataType.FLOAT
        return value

    entry = described(ir.Value(name="input"), graph.input)
    w.write(graph.input, entry)
    entries = [entry, *(described(ir.Value(name=s.before), s.before) for s in graph.states)]
    for value, state in zip(entries[1:], graph.states, strict=True):
        w.hand_on(state.before, value)
    for node in graph.nodes:
        node.op.onnx(w, node)
    result = described(w.read(graph.output), graph.output)
    result.name = "output"
    results = [result]
    for state in graph.states:  # a value may be the output or another's state too: each result has a node of its own
        after = described(w.emit("Identity", [w.read(state.after)], f"{state.before}/next"), state.after)
        after.name = f"{state.before}/next"
        results.append(after)
    whole = ir.Graph(entries, results, nodes=w.nodes, initializers=list(w.constants.values()), opset_imports={"": OPSET}, name=name)
    whole.opset_imports.update(dict.fromkeys(sorted({n.domain for n in whole.all_nodes() if n.domain}), 1))
    model = ir.Model(whole, ir_version=IR_VERSION, producer_name="edgelr")
    return bytes(ir.serde.serialize_model(model).SerializeToString(deterministic=True))
