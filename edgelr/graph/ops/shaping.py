"""Operations that move values without changing them: reshape, permute, concatenate, pad."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from edgelr.graph.arithmetic import IntegerWeights
from edgelr.graph.ops.base import Clamp, NodeLike, OnnxSpeller, Op, Shape, TfliteSpeller
from edgelr.vocabulary import Grid


@dataclass(frozen=True, eq=False)
class Reshape(Op):
    """To ``target``, without the batch."""

    target: Shape
    tied: ClassVar[bool] = True

    def shape(self, *inputs: Shape) -> Shape:
        assert prod(inputs[0]) == prod(self.target)
        return self.target

    def run(self, *inputs: Tensor) -> Tensor:
        return inputs[0].reshape(-1, *self.target)

    def integer(self, inputs: Sequence[Tensor], grids: Sequence[Grid], out: Grid, weights: IntegerWeights | None) -> Tensor:
        return self.run(inputs[0])

    def tflite(self, w: TfliteSpeller, node: NodeLike) -> None:
        w.move(node)

    def onnx(self, w: OnnxSpeller, node: NodeLike) -> None:
        target = w.constant(f"{node.name}/shape", np.array([-1, *self.target], np.int64))
        w.write(node.name, w.emit("Reshape", [w.read(node.inputs[0]), target], node.name))


@dataclass(frozen=True, eq=False)
class Permute(Op):
    """Axes in the order ``axes``, which count without the batch."""

    axes: tuple[int, ...]
    tied: ClassVar[bool] = True

    def shape(self, *inputs: Shape) -> Shape:
        return tuple(inputs[0][a] for a in self.axes)

    def run(self, *inputs: Tensor) -> Tensor:
        return inputs[0].permute(0, *(a + 1 for a in self.axes))

    def integer(self, inputs: Sequence[Tensor], grids: Sequence[Grid], out: Grid, weights: IntegerWeights | None) -> Tensor:
        return self.run(inputs[0])

    def tflite(self, w: TfliteSpeller, node: NodeLike) -> None:
        w.move(node)

    def onnx(self, w: OnnxSpeller, node: NodeLike) -> None:
        w.write(node.name, w.emit("Transpose", [w.read(node.inputs[0])], node.name, perm=[0, *(a + 1 for a in self.axes)]))


@dataclass(frozen=True, eq=False)
class Concat(Op):
    """Along ``axis``, which counts without the batch."""

    axis: int
    tied: ClassVar[bool] = True

    def shape(self, *inputs: Shape) -> Shape:
        first = list(inputs[0])
        first[self.axis] = sum(s[self.axis] for s in inputs)
        return tuple(first)

    def run(self, *inputs: Tensor) -> Tensor:
        return torch.cat(inputs, self.axis + 1)

    def integer(self, inputs: Sequence[Tensor], grids: Sequence[Grid], out: Grid, weights: IntegerWeights | None) -> Tensor:
        return self.run(*inputs)

    def tflite(self, w: TfliteSpeller, node: NodeLike) -> None:
        w.emit("CONCATENATION", 2, [w.read(i) for i in node.inputs], w.write(node.name), "Concatenation",
               axis=w.axis(node.name, self.axis), fusedActivationFunction="NONE")

    def onnx(self, w: OnnxSpeller, node: NodeLike) -> None:
        w.write(node.name, w.emit("Concat", [w.read(i) for i in node.inputs], node.name, axis=self.axis + 1))


@dataclass(frozen=True, eq=False)
class Pad(Op):
    """``pads`` before each axis, then after each, batch left out; ``mode`` constant (of ``value``), reflect or edge."""

    pads: tuple[int, ...]
    mode: str = "constant"
    value: float = 0.0
    tied: ClassVar[bool] = True

    def range(self) -> Clamp | None:
        return (self.value, self.value) if self.mode == "constant" else None

    @property
    def both(self) -> list[tuple[int, int]]:
        d = len(self.pads) // 2
        return list(zip(self.pads[:d], self.pads[d:], strict=True))

    def shape(self, *inputs: Shape) -> Shape:
        return tuple(i + before + after for i, (before, after) in zip(inputs[0], self.both, strict=True))

    def _pad(self, x: Tensor, value: float) -> Tensor:
        pairs = self.both
        if self.mode == "constant":
            return F.pad(x, [p for pair in reversed(pairs) for p in pair], value=value)
        while len(pairs) > 1 and pairs[0] == (0, 0):  # torch's reflect and replicate name the spatial axes only
            pairs = pairs[1:]
        return F.pad(x, [p for pair in reversed(pairs) for p in pair], mode={"reflect": "reflect", "edge": "replicate"}[self.mode])

    def run(self, *inputs: Tensor) -> Tensor:
        return self._pad(inputs[0], self.value)

    def _integer_value(self, grid: Grid) -> int:
        return max(-128, min(127, round(float(np.float32(self.value) / np.float32(grid.scale))) + grid.zero_point))

    def integer(self, inputs: Sequence[Tensor], grids: Sequence[Grid], out: Grid, weights: IntegerWeights | None) -> Tensor:
        return self._pad(inputs[0], self._integer_value(out))

    def tflite(self, w: TfliteSpeller, node: NodeLike) -> None:
        x = node.inputs[0]
        amounts = [(0, 0), *self.both]
        inputs = [w.read(x), w.ints(f"{node.name}/pads", [(0, 0) if a is None else amounts[a] for a in w.order(x)])]
        if self.mode == "constant" and self.value == 0:
            w.emit("PAD", 2, inputs, w.write(node.name), "Pad")
        elif self.mode == "constant":
            floating = w.floating(node.name)
            value = w.reals("", [self.value]) if floating else w.scalar(f"{node.name}/value", self._integer_value(w.grid(x)), w.grid(x))
            w.emit("PADV2", 2, [*inputs, value], w.write(node.name), "PadV2")
        else:  # SYMMETRIC repeats the edge value itself first: for one cell that is "edge"
            mode = "REFLECT" if self.mode == "reflect" else "SYMMETRIC"
            w.emit("MIRROR_PAD", 2, inputs, w.write(node.name), "MirrorPad", mode=mode)

    def onnx(self, w: OnnxSpeller, node: NodeLike) -> None:
        d = len(self.pads) // 2
        amounts = w.constant(f"{node.name}/pads", np.array([0, *self.pads[:d], 0, *self.pads[d:]], np.int64))
        inputs = [w.read(node.inputs[0]), amounts]
        if self.mode == "constant" and self.value:
            inputs.append(w.constant(f"{node.name}/value", np.array(self.value, np.float32)))
        w.write(node.name, w.emit("Pad", inputs, node.name, mode=self.mode))
