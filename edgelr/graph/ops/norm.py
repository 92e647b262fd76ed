"""Layer normalisation over the last axes."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from edgelr.graph.ops.base import NodeLike, OnnxSpeller, Op, Shape, TfliteSpeller


@dataclass(frozen=True, eq=False)
class LayerNorm(Op):
    """(x - mean) / sqrt(variance + eps) * ``weight`` + ``bias`` over the last axes, those of ``weight`` and ``bias``.

    In float always: neither runtime has an integer kernel of it, and one made of integer steps is slower (``tflite.md``).
    """

    weight: Tensor
    bias: Tensor
    eps: float

    def float_reason(self, format: Literal["tflite", "onnx"]) -> str:
        return "neither runtime normalises layers on integers"

    def shape(self, *inputs: Shape) -> Shape:
        return inputs[0]

    def run(self, *inputs: Tensor) -> Tensor:
        return F.layer_norm(inputs[0], tuple(self.weight.shape), self.weight, self.bias, self.eps)

    def tflite(self, w: TfliteSpeller, node: NodeLike) -> None:
        x, name, shape = node.inputs[0], node.name, w.shape(node.name)
        d = len(shape) - self.weight.dim()
        axes, one = w.ints(f"{name}/axes", list(range(d, len(shape)))), [*shape[:d], *(1,) * self.weight.dim()]
        mean, variance, centred, squared = (w.temporary(f"{name}/{k}", s, name) for k, s in (
            ("mean", one), ("variance", one), ("centred", shape), ("squared", shape)))
        w.emit("MEAN", 1, [w.read(x), axes], mean, "Reducer", keepDims=True)
        w.emit("SUB", 1, [w.read(x), mean], centred, "Sub", fusedActivationFunction="NONE")
        w.emit("MUL", 1, [centred, centred], squared, "Mul", fusedActivationFunction="NONE")
        w.emit("MEAN", 1, [squared, axes], variance, "Reducer", keepDims=True)
        floored, deviation, normal, scaled = (w.temporary(f"{name}/{k}", s, name) for k, s in (
            ("floored", one), ("deviation", one), ("normal", shape), ("scaled", shape)))
        w.emit("ADD", 1, [variance, w.reals("", [self.eps])], floored, "Add", fusedActivationFunction="NONE")
        w.emit("RSQRT", 1, [floored], deviation)
        w.emit("MUL", 1, [centred, deviation], normal, "Mul", fusedActivationFunction="NONE")
        w.emit("MUL", 1, [normal, w.reals("", self.weight.detach().numpy())], scaled, "Mul", fusedActivationFunction="NONE")
        w.emit("ADD", 1, [scaled, w.reals("", self.bias.detach().numpy())], w.write(name), "Add", fusedActivationFunction="NONE")

    def onnx(self, w: OnnxSpeller, node: NodeLike) -> None:
        inputs = [w.read(node.inputs[0]), w.reals(self.weight.detach().numpy()), w.reals(self.bias.detach().numpy())]
        w.write(node.name, w.emit("LayerNormalization", inputs, node.name, axis=-self.weight.dim(), epsilon=self.eps))
