"""A part of a value along one axis: slice, narrow, chunk, split, select and unbind are all this (and a reshape)."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor

from edgelr.graph.arithmetic import IntegerWeights
from edgelr.graph.ops.base import NodeLike, OnnxSpeller, Op, Shape, TfliteSpeller
from edgelr.vocabulary import Grid


@dataclass(frozen=True, eq=False)
class Slice(Op):
    """Places ``start``, ``start + step`` ... below ``stop`` of ``axis``, which counts without the batch.

    0 <= start < stop <= length, step >= 1.
    """

    axis: int
    start: int
    stop: int
    step: int = 1
    tied: ClassVar[bool] = True

    def shape(self, *inputs: Shape) -> Shape:
        shape = list(inputs[0])
        shape[self.axis] = len(range(self.start, min(self.stop, shape[self.axis]), self.step))
        return tuple(shape)

    def run(self, *inputs: Tensor) -> Tensor:
        return inputs[0][(slice(None),) * (self.axis + 1) + (slice(self.start, self.stop, self.step),)]

    def integer(self, inputs: Sequence[Tensor], grids: Sequence[Grid], out: Grid, weights: IntegerWeights | None) -> Tensor:
        return self.run(inputs[0])

    def tflite(self, w: TfliteSpeller, node: NodeLike) -> None:
        x = node.inputs[0]
        axis, have, want = w.axis(x, self.axis), w.shape(x), w.shape(node.name)
        begin = [self.start if a == axis else 0 for a in range(len(have))]
        if self.step == 1:
            inputs = [w.read(x), w.ints(f"{node.name}/begin", begin), w.ints(f"{node.name}/size", want)]
            w.emit("SLICE", 2, inputs, w.write(node.name), "Slice")
            return
        end = [self.stop if a == axis else n for a, n in enumerate(have)]
        steps = [self.step if a == axis else 1 for a in range(len(have))]
        inputs = [w.read(x), *(w.ints(f"{node.name}/{k}", v) for k, v in (("begin", begin), ("end", end), ("step", steps)))]
        w.emit("STRIDED_SLICE", 2, inputs, w.write(node.name), "StridedSlice")

    def onnx(self, w: OnnxSpeller, node: NodeLike) -> None:
        bounds = [w.constant(f"{node.name}/{k}", np.array([v], np.int64))
                  for k, v in (("start", self.start), ("stop", self.stop), ("axis", self.axis + 1), ("step", self.step))]
        w.write(node.name, w.emit("Slice", [w.read(node.inputs[0]), *bounds], node.name))
