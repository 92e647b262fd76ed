"""Softmax over any axis, plain or of masked scores."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from edgelr.graph.arithmetic import IntegerWeights, dequantize, quantize
from edgelr.graph.ops.activations import UNIT
from edgelr.graph.ops.base import NodeLike, OnnxSpeller, Op, Shape, TfliteSpeller
from edgelr.graph.ops.constants import AddConstant
from edgelr.vocabulary import Grid

LOWEST = -1e30  # in place of minus infinity: added to any score it leaves no share, and it is a number for every kernel


@dataclass(frozen=True, eq=False)
class Softmax(Op):
    """Softmax over ``axis``, which counts without the batch; of x + ``mask`` where there is one (in float: no grid holds a mask)."""

    axis: int
    mask: Tensor | None = None
    fixed: ClassVar[Grid | None] = UNIT
    slow_on_integers: ClassVar[str] = (
        "LiteRT's integer softmax is not XNNPACK's: ViT-tiny of 4 blocks took 5.7 ms with it and 4.8 ms without; ONNX Runtime 7.9 and "
        "5.8 ms (tools/bench_attention.py)")

    def float_reason(self, format: Literal["tflite", "onnx"]) -> str:
        return "" if self.mask is None else "neither runtime masks a softmax on integers"

    def shape(self, *inputs: Shape) -> Shape:
        return inputs[0]

    def run(self, *inputs: Tensor) -> Tensor:
        return torch.softmax(inputs[0] if self.mask is None else inputs[0] + self.mask, self.axis + 1)

    def integer(self, inputs: Sequence[Tensor], grids: Sequence[Grid], out: Grid, weights: IntegerWeights | None) -> Tensor:
        return quantize(self.run(dequantize(inputs[0], grids[0])), out)

    def tflite(self, w: TfliteSpeller, node: NodeLike) -> None:
        x, shape = node.inputs[0], w.shape(node.name)
        source = w.read(x)
        if self.mask is not None:
            masked = w.temporary(f"{node.name}/masked", shape, node.name)
            w.emit("ADD", 1, [source, w.reals("", AddConstant(self.mask.clamp(min=LOWEST)).written(w.order(node.name)))], masked, "Add",
                   fusedActivationFunction="NONE")
            source = masked
        version, axis = 1 if w.floating(node.name) else 2, w.axis(node.name, self.axis)
        if axis == len(shape) - 1:
            w.emit("SOFTMAX", version, [source], w.write(node.name), "Softmax", beta=1.0)
            return
        swap = list(range(len(shape)))  # SOFTMAX works over the last axis as written
        swap[axis], swap[-1] = swap[-1], swap[axis]
        swapped, amounts = [shape[a] for a in swap], w.ints(f"{node.name}/swap", swap)
        turned, done = w.temporary(f"{node.name}/turned", swapped, x), w.temporary(f"{node.name}/done", swapped, node.name)
        w.emit("TRANSPOSE", 2, [source, amounts], turned, "Transpose")
        w.emit("SOFTMAX", version, [turned], done, "Softmax", beta=1.0)
        w.emit("TRANSPOSE", 2, [done, amounts], w.write(node.name), "Transpose")

    def onnx(self, w: OnnxSpeller, node: NodeLike) -> None:
        source = w.read(node.inputs[0])
        if self.mask is not None:
            source = w.emit("Add", [source, w.reals(self.mask.clamp(min=LOWEST).numpy())], f"{node.name}/masked")
        w.write(node.name, w.emit("Softmax", [source], node.name, axis=self.axis + 1))
