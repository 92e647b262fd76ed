"""The linear layer, on the last axis of an input of any rank."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from edgelr.graph.arithmetic import IntegerWeights, centred, exact_parts, f32, requantize
from edgelr.graph.ops.base import NO_CLAMP, Clamp, NodeLike, OnnxSpeller, Op, Shape, TfliteSpeller, activation, bounded
from edgelr.vocabulary import Grid


@dataclass(frozen=True, eq=False)
class Linear(Op):
    """``weight`` [n, in_features], ``bias`` [n]."""

    weight: Tensor
    bias: Tensor
    clamp: Clamp = NO_CLAMP

    @property
    def weighted(self) -> bool:
        return True

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
        q, x = w.weights(node.name), node.inputs[0]
        weight, scale, columns = q.weight.numpy(), q.scale.numpy(), w.columns(x)
        if columns is not None:  # the input was flattened channels last: its features come in that order
            weight = np.ascontiguousarray(weight[:, columns])
        keep = len(w.shape(x)) > 2
        inputs = [w.read(x), w.weight(f"{node.name}/weight", weight, scale, 0),
                  w.bias(f"{node.name}/bias", q.bias.numpy(), np.float32(w.grid(x).scale) * scale)]
        w.emit("FULLY_CONNECTED", 5 if keep else 4, inputs, w.write(node.name), "FullyConnected",
               fusedActivationFunction=activation(self.clamp), keepNumDims=keep)

    def onnx(self, w: OnnxSpeller, node: NodeLike) -> None:
        q, x = w.weights(node.name), node.inputs[0]
        scale, shape = q.scale.numpy(), w.torch_shape(x)
        inputs = [w.read(x), w.weight(f"{node.name}.weight", q.weight.numpy(), scale),
                  w.bias(f"{node.name}.bias", q.bias.numpy(), np.float32(w.grid(x).scale) * scale)]
        if len(shape) == 1:
            w.write(node.name, w.emit("Gemm", inputs, node.name, transB=1))
            return
        # Gemm is the form that runs in int8, and takes a matrix: the leading axes become its rows and come back after
        flat = w.emit("Reshape", [inputs[0], w.constant(f"{node.name}/flat", np.array([-1, shape[-1]], np.int64))], f"{node.name}/rows")
        result = w.emit("Gemm", [w.pin(flat, f"{node.name}/rows", w.grid(x)), *inputs[1:]], node.name, transB=1)
        matrix = w.pin(result, f"{node.name}/matrix", w.grid(node.name))
        target = w.constant(f"{node.name}/shape", np.array([-1, *shape[:-1], self.weight.shape[0]], np.int64))
        w.write(node.name, w.emit("Reshape", [matrix, target], f"{node.name}/unrows"))
