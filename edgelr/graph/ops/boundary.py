"""Where values leave the integer grid for operations in float, and where they come back: as explicit as any operation."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from edgelr.graph.arithmetic import IntegerWeights
from edgelr.graph.ops.base import NodeLike, OnnxSpeller, Op, Shape, TfliteSpeller
from edgelr.vocabulary import Grid


class _Boundary(Op):
    """Nothing in real numbers."""

    def shape(self, *inputs: Shape) -> Shape:
        return inputs[0]

    def run(self, *inputs: Tensor) -> Tensor:
        return inputs[0]

    def integer(self, inputs: Sequence[Tensor], grids: Sequence[Grid], out: Grid, weights: IntegerWeights | None) -> Tensor:
        raise NotImplementedError("one side of a boundary is in float: the simulator steps over it")


@dataclass(frozen=True, eq=False)
class Dequantize(_Boundary):
    """From the grid to float."""

    def tflite(self, w: TfliteSpeller, node: NodeLike) -> None:
        w.emit("DEQUANTIZE", 2, [w.read(node.inputs[0])], w.write(node.name), "Dequantize")

    def onnx(self, w: OnnxSpeller, node: NodeLike) -> None:
        real = w.read(node.inputs[0])
        # ONNX Runtime joins DequantizeLinear -> operation -> QuantizeLinear into an integer kernel, and quantises float weights for it. A
        # sum of one term it leaves alone
        w.hand_on(node.name, w.emit("Sum", [real], f"{node.name}/kept") if w.enclosed(node.name) else real)


@dataclass(frozen=True, eq=False)
class Quantize(_Boundary):
    """From float to the grid."""

    def tflite(self, w: TfliteSpeller, node: NodeLike) -> None:
        w.emit("QUANTIZE", 1, [w.read(node.inputs[0])], w.write(node.name), "Quantize")

    def onnx(self, w: OnnxSpeller, node: NodeLike) -> None:
        w.write(node.name, w.read(node.inputs[0]))
