"""The linear layer, on the last axis of an input of any rank."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from edgelr.graph.arithmetic import IntegerWeights, centred, exact_parts, f32, requantize
from edgelr.graph.ops.base import NO_CLAMP, Array, Clamp, NodeLike, OnnxSpeller, Shape, TfliteSpeller, Weighted, activation, bounded
from edgelr.vocabulary import Grid


@dataclass(frozen=True, eq=False)
class Linear(Weighted):
    """``weight`` [n, in_features], ``bias`` [n]."""

    weight: Tensor
    bias: Tensor
    clamp: Clamp = NO_CLAMP

    def shape(self, *inputs: Shape) -> Shape:
        return (*inputs[0][:-1], self.weight.shape[0])

    def run(self, *inputs: Tensor) -> Tensor:
        return bounded(F.linear(inputs[0], self.weight, self.bias), self.clamp)

    def integer(self, inputs: Sequence[Tensor], grids: Sequence[Grid], out: Grid, weights: IntegerWeights | None) -> Tensor:
        assert weights is not None
        x = centred(inputs[0], grids[0])
        acc = sum(factor * F.linear(x.to(weight.dtype), weight).double() for factor, weight in exact_parts(grids[0], weights))
        acc = acc + weights.bias.double()
        return requantize(acc, f32(grids[0].scale) * weights.scale / f32(out.scale), out)

    def tflite(self, w: TfliteSpeller, node: NodeLike) -> None:
        x, columns = node.inputs[0], w.columns(node.inputs[0])
        keep, dynamic = len(w.shape(x)) > 2, w.numbers(node.name) == "dynamic"

        def arrange(weight: Array) -> Array:  # an input that was flattened channels last has its features in that order
            return weight if columns is None else np.ascontiguousarray(weight[:, columns])

        inputs = [w.read(x), *w.parameters(node, arrange, 0)]
        w.emit("FULLY_CONNECTED", 5 if keep or dynamic else 4, inputs, w.write(node.name), "FullyConnected",
               fusedActivationFunction=activation(self.clamp), keepNumDims=keep, asymmetricQuantizeInputs=dynamic)

    def onnx(self, w: OnnxSpeller, node: NodeLike) -> None:
        x, shape = node.inputs[0], w.torch_shape(node.inputs[0])
        if w.numbers(node.name) == "dynamic":
            w.write(node.name, self._dynamic(w, node))
            return
        if len(shape) > 1 and w.numbers(node.name) == "float":
            product = w.emit("MatMul", [w.read(x), w.reals(self.weight.detach().numpy().T)], node.name)
            w.write(node.name, w.emit("Add", [product, w.reals(self.bias.detach().numpy())], f"{node.name}/bias"))
            return
        inputs = [w.read(x), *w.parameters(node)]
        if len(shape) == 1:
            w.write(node.name, w.emit("Gemm", inputs, node.name, transB=1))
            return
        # Gemm is the form that runs in int8, and takes a matrix: the leading axes become its rows and come back after
        flat = w.emit("Reshape", [inputs[0], w.constant(f"{node.name}/flat", np.array([-1, shape[-1]], np.int64))], f"{node.name}/rows")
        result = w.emit("Gemm", [w.pin(flat, f"{node.name}/rows", x), *inputs[1:]], node.name, transB=1)
        matrix = w.pin(result, f"{node.name}/matrix", node.name)
        target = w.constant(f"{node.name}/shape", np.array([-1, *shape[:-1], self.weight.shape[0]], np.int64))
        w.write(node.name, w.emit("Reshape", [matrix, target], f"{node.name}/unrows"))

    def _dynamic(self, w: OnnxSpeller, node: NodeLike) -> Any:
        """The nodes that ONNX Runtime joins into one DynamicQuantizeMatMul."""
        q = w.integer_weights(node.name)
        x, x_scale, x_zero = w.emit("DynamicQuantizeLinear", [w.read(node.inputs[0])], f"{node.name}/quantize", outputs=3)
        weight, zero = w.constant("", np.ascontiguousarray(q.weight.numpy().T)), w.constant("", np.zeros(len(q.scale), np.int8))
        product = w.emit("MatMulInteger", [x, weight, x_zero, zero], node.name)
        scale = w.emit("Mul", [x_scale, w.reals(q.scale.numpy())], f"{node.name}/scale")
        real = w.emit("Mul", [w.emit("Cast", [product], f"{node.name}/cast", to=1), scale], f"{node.name}/scaled")
        return w.emit("Add", [real, w.reals(self.bias.detach().numpy())], f"{node.name}/bias")
