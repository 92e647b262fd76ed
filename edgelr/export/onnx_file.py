"""Writes a quantised graph as .onnx: QDQ, u8 activations, s8 weights per channel, which ONNX Runtime fuses fully."""
from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from edgelr.graph import IntegerWeights, Shape
from edgelr.graph.ops import Concat
from edgelr.quantization import Quantized
from edgelr.vocabulary import Grid

OPSET = 20
IR_VERSION = 10


class OnnxWriter:
    """Implements ``OnnxSpeller``. Every value is real between its DequantizeLinear and the next QuantizeLinear."""

    def __init__(self, q: Quantized) -> None:
        self.q = q
        self.users = q.graph.users()
        self.nodes: list[ir.Node] = []
        self.constants: dict[str, ir.Value] = {}
        self.real: dict[str, ir.Value] = {}
        self.shared: dict[tuple[str, bytes, bytes], ir.Value] = {}

    def torch_shape(self, value: str) -> Shape:
        return self.q.graph.shapes[value]

    def grid(self, value: str) -> Grid:
        return self.q.grids[value]

    def weights(self, node: str) -> IntegerWeights:
        return self.q.weights[node]

    def read(self, value: str) -> ir.Value:
        return self.real[value]

    def joined(self, value: str) -> bool:
        """Whether only concatenations read this value."""
        return value != self.q.graph.output and all(isinstance(n.op, Concat) for n in self.users[value])

    def hand_on(self, value: str, real: ir.Value) -> None:
        """Let a value be read as it is, without putting it on its grid: its reader does."""
        self.real[value] = real

    def constant(self, name: str, values: Any) -> ir.Value:
        if name not in self.constants:
            tensor = ir.tensor(np.asarray(values), name=name)
            self.constants[name] = ir.Value(name=name, shape=ir.Shape(tensor.shape.numpy()), type=ir.TensorType(tensor.dtype),
                                            const_value=tensor)
        return self.constants[name]

    def emit(self, op: str, inputs: Any, name: str, **attributes: Any) -> ir.Value:
        node = ir.Node("", op, inputs, ir.convenience.convert_attributes(attributes), name=name)
        node.outputs[0].name = f"{name}/{op}"
        self.nodes.append(node)
        return node.outputs[0]

    def _dequantized(self, name: str, values: Any, scale: Any, zero: Any) -> ir.Value:
        """A stored tensor in real numbers; equal ones (the scales of every hard-swish, say) are stored once."""
        key = (f"{values.dtype}{values.shape}", values.tobytes(), scale.tobytes())
        if key not in self.shared:
            inputs = [self.constant(name, values), self.constant(f"{name}/scale", scale), self.constant(f"{name}/zero", zero)]
            self.shared[key] = self.emit("DequantizeLinear", inputs, f"{name}/dequantize", axis=0)
        return self.shared[key]

    def weight(self, name: str, values: Any, scale: Any) -> ir.Value:
        return self._dequantized(name, values, scale, np.zeros(len(scale), np.int8))

    def bias(self, name: str, values: Any, scale: Any) -> ir.Value:
        return self._dequantized(name, values, scale, np.zeros(len(scale), np.int32))

    def pin(self, real: ir.Value, name: str, grid: Grid) -> ir.Value:
        """A real value put on a grid and taken off again."""
        parameters = [self.constant(f"{name}/scale", np.float32(grid.scale)),
                      self.constant(f"{name}/zero", np.uint8(grid.zero_point + 128))]
        on = self.emit("QuantizeLinear", [real, *parameters], f"{name}/quantize")
        return self.emit("DequantizeLinear", [on, *parameters], f"{name}/dequantize")

    def write(self, value: str, real: ir.Value) -> None:
        self.real[value] = self.pin(real, value, self.grid(value))


def onnx_bytes(q: Quantized, name: str = "model") -> bytes:
    """The .onnx as bytes: float32 input "input" and output "output", any batch, integers inside."""
    w, graph = OnnxWriter(q), q.graph

    def described(value: ir.Value, key: str) -> ir.Value:
        value.shape, value.dtype = ir.Shape(["batch", *graph.shapes[key]]), ir.DataType.FLOAT
        return value

    entry = described(ir.Value(name="input"), graph.input)
    w.write(graph.input, entry)
    for node in graph.nodes:
        node.op.onnx(w, node)
    result = described(w.read(graph.output), graph.output)
    result.name = "output"
    whole = ir.Graph([entry], [result], nodes=w.nodes, initializers=list(w.constants.values()), opset_imports={"": OPSET}, name=name)
    model = ir.Model(whole, ir_version=IR_VERSION, producer_name="edgelr")
    return bytes(ir.serde.serialize_model(model).SerializeToString(deterministic=True))
