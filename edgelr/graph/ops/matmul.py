"""The product of two activations: the two halves of attention."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from edgelr.graph.arithmetic import FLOAT32_EXACT, IntegerWeights, centred, f32, requantize
from edgelr.graph.ops.base import NodeLike, OnnxSpeller, Op, Shape, TfliteSpeller
from edgelr.vocabulary import Grid


def _turned(shape: Shape, turn: bool) -> Shape:
    return (*shape[:-2], shape[-1], shape[-2]) if turn else shape


@dataclass(frozen=True, eq=False)
class MatMul(Op):
    """a @ b on the last two axes, either transposed first; the axes before them are broadcast."""

    turn_a: bool = False
    turn_b: bool = False
    slow_on_integers: ClassVar[str] = (
        "LiteRT multiplies activations on integers without XNNPACK: ViT-tiny of 4 blocks took 13.2 ms with it and 4.8 ms without; "
        "ONNX Runtime 6.5 and 5.8 ms (tools/bench_attention.py)")

    def shape(self, *inputs: Shape) -> Shape:
        a, b = _turned(inputs[0], self.turn_a), _turned(inputs[1], self.turn_b)
        assert a[-1] == b[-2]
        return (*np.broadcast_shapes(a[:-2], b[:-2]), a[-2], b[-1])

    def _product(self, a: Tensor, b: Tensor) -> Tensor:
        return (a.mT if self.turn_a else a) @ (b.mT if self.turn_b else b)

    def run(self, *inputs: Tensor) -> Tensor:
        return self._product(*inputs)

    def integer(self, inputs: Sequence[Tensor], grids: Sequence[Grid], out: Grid, weights: IntegerWeights | None) -> Tensor:
        """MLAS's QGEMM: the exact int32 sum times float32(sa * sb) / sy, as for weights."""
        a, b = (centred(q, g) for q, g in zip(inputs, grids, strict=True))
        largest = 1
        for grid in grids:
            largest *= max(127 - grid.zero_point, grid.zero_point + 128)
        if a.shape[-2 if self.turn_a else -1] * largest >= FLOAT32_EXACT:
            a, b = a.double(), b.double()
        return requantize(self._product(a, b), f32(grids[0].scale) * f32(grids[1].scale) / f32(out.scale), out)

    def tflite(self, w: TfliteSpeller, node: NodeLike) -> None:
        w.emit("BATCH_MATMUL", 1 if w.floating(node.name) else 2, [w.read(i) for i in node.inputs], w.write(node.name), "BatchMatMul",
               adjX=self.turn_a, adjY=self.turn_b, asymmetricQuantizeInputs=False)

    def onnx(self, w: OnnxSpeller, node: NodeLike) -> None:
        a, b = (self._read(w, node, i) for i in (0, 1))
        w.write(node.name, w.emit("MatMul", [a, b], node.name))

    def _read(self, w: OnnxSpeller, node: NodeLike, i: int) -> Any:
        value = node.inputs[i]
        if not (self.turn_a, self.turn_b)[i]:
            return w.read(value)
        d = len(w.torch_shape(value)) + 1
        turned = w.emit("Transpose", [w.read(value)], f"{node.name}/turn{i}", perm=[*range(d - 2), d - 1, d - 2])
        return turned if w.floating(value) else w.pin(turned, f"{node.name}/turn{i}", value)
