"""Operations that the writers put in by themselves, spelled by hand: the graph has none of them."""
from __future__ import annotations

import re
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from edgelr.graph.ops.base import NodeLike, OnnxSpeller, Op, TfliteSpeller
from edgelr.latency.operation import Operation, Shape
from edgelr.vocabulary import Format

RAW: dict[Format, frozenset[str]] = {
    "tflite": frozenset(("transpose", "reshape", "split", "reverse", "sub", "mean", "rsqrt")),
    "onnx": frozenset(("transpose", "reshape", "split", "sub", "identity")),
}


def flat(shape: Shape) -> Shape:
    return (prod(shape),)


@dataclass(frozen=True, eq=False)
class Raw(Op):
    """An operation between reshapes of rows of numbers: its shapes may have any batch."""

    operation: Operation
    tied: ClassVar[bool] = True

    def shape(self, *inputs: Shape) -> Shape:
        return flat(self.operation.output)

    def run(self, *inputs: Tensor) -> Tensor:
        raise NotImplementedError("it is written and never run here")

    def _axis(self) -> int:
        return int(re.findall(r"\d+", self.operation.detail)[0])

    def _into(self) -> list[int]:
        return [int(n) for n in self.operation.detail.partition("into")[2].split("x")]

    def tflite(self, w: TfliteSpeller, node: NodeLike) -> None:
        o, name = self.operation, node.name
        inputs = []
        for i, (value, shape) in enumerate(zip(node.inputs, o.inputs, strict=True)):
            inputs.append(w.temporary(f"{name}/in{i}", shape, value))
            w.emit("RESHAPE", 1, [w.read(value), w.ints("", shape)], inputs[-1], "Reshape", newShape=list(shape))
        out = w.temporary(f"{name}/out", o.output, name)
        if o.op == "transpose":
            w.emit("TRANSPOSE", 2, [*inputs, w.ints("", [int(a) for a in o.detail.removeprefix("perm")])], out, "Transpose")
        elif o.op == "reshape":
            w.emit("RESHAPE", 1, [*inputs, w.ints("", o.output)], out, "Reshape", newShape=list(o.output))
        elif o.op == "reverse":
            w.emit("REVERSE_V2", 1, [*inputs, w.ints("", [self._axis()])], out, "ReverseV2")
        elif o.op == "split":
            axis, sizes = self._axis(), self._into()
            rest = [w.temporary(f"{name}/out{n}", [n if a == axis else m for a, m in enumerate(o.inputs[0])], name) for n in sizes[1:]]
            w.emit("SPLIT_V", 1, [*inputs, w.ints("", sizes), w.ints("", np.int32(axis))], [out, *rest], "SplitV", numSplits=len(sizes))
        elif o.op == "mean":
            axes = [int(a) for a in o.detail.removeprefix("axes").split("x")]
            w.emit("MEAN", 1 if w.floating(name) else 2, [*inputs, w.ints("", axes)], out, "Reducer", keepDims=True)
        elif o.op == "sub":
            w.emit("SUB", 1 if w.floating(name) else 2, inputs, out, "Sub", fusedActivationFunction="NONE")
        else:
            w.emit(o.op.upper(), 1, inputs, out)
        w.emit("RESHAPE", 1, [out, w.ints("", w.shape(name))], w.write(name), "Reshape", newShape=w.shape(name))

    def onnx(self, w: OnnxSpeller, node: NodeLike) -> None:
        o, name = self.operation, node.name

        def kept(real: Any, to: str, like: str) -> Any:  # reshapes and transposes side by side would be joined into one
            return w.pin(w.emit("Sigmoid", [real], to), to, like)

        def reshaped(real: Any, shape: Shape, to: str, like: str) -> Any:
            shaped = w.pin(w.emit("Reshape", [real, w.constant("", np.array(shape, np.int64))], f"{to}/shaped"), f"{to}/shaped", like)
            return kept(shaped, to, like)

        pairs = enumerate(zip(node.inputs, o.inputs, strict=True))
        inputs = [reshaped(w.read(value), self._written(shape), f"{name}/in{i}", value) for i, (value, shape) in pairs]
        if o.op == "transpose":
            out = w.emit("Transpose", inputs, name, perm=[int(a) for a in o.detail.removeprefix("perm")])
        elif o.op == "reshape":
            out = w.emit("Reshape", [*inputs, w.constant("", np.array(o.output, np.int64))], name)
        elif o.op == "split":
            sizes = self._into()
            out = w.emit("Split", [*inputs, w.constant("", np.array(sizes, np.int64))], name, outputs=len(sizes), axis=self._axis())[0]
        else:
            out = w.emit({"sub": "Sub", "identity": "Sum"}[o.op], inputs, name)
        out = kept(w.pin(out, f"{name}/out", name), f"{name}/kept", name)
        w.write(name, w.emit("Reshape", [out, w.constant("", np.array((1, *flat(o.output)), np.int64))], f"{name}/flat"))

    def _written(self, shape: Shape) -> Shape:
        """As the file has it: in float, split and sub and identity are told with channels last."""
        if self.operation.op in ("transpose", "reshape") or len(shape) != 4 or self.operation.numbers == "int8":
            return shape
        return (shape[0], shape[3], *shape[1:3])
