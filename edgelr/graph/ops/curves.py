"""Smooth activations that LiteRT has as tables of 256 integers, and ONNX Runtime in float only: GELU, tanh, ELU."""
from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor
from torch.nn import functional as F

from edgelr.graph.arithmetic import IntegerWeights, dequantize, quantize
from edgelr.graph.ops.base import NodeLike, OnnxSpeller, Op, Shape, TfliteSpeller
from edgelr.vocabulary import Grid


class _Curve(Op):
    """One real function of each value."""

    def float_reason(self, format: Literal["tflite", "onnx"]) -> str:
        return f"ONNX Runtime has no {type(self).__name__} on integers" if format == "onnx" else ""

    def shape(self, *inputs: Shape) -> Shape:
        return inputs[0]

    def integer(self, inputs: Sequence[Tensor], grids: Sequence[Grid], out: Grid, weights: IntegerWeights | None) -> Tensor:
        return quantize(self.run(dequantize(inputs[0], grids[0])), out)

    @property
    @abstractmethod
    def tflite_form(self) -> tuple[str, str, dict[str, Any]]:
        """Operator, its options' name and its options."""

    @property
    @abstractmethod
    def onnx_form(self) -> tuple[str, dict[str, Any]]:
        """Operator and its attributes."""

    def tflite(self, w: TfliteSpeller, node: NodeLike) -> None:
        code, options, fields = self.tflite_form
        version = 1 if w.floating(node.name) or code == "ELU" else 2
        w.emit(code, version, [w.read(node.inputs[0])], w.write(node.name), options, **fields)

    def onnx(self, w: OnnxSpeller, node: NodeLike) -> None:
        kind, attributes = self.onnx_form
        w.write(node.name, w.emit(kind, [w.read(node.inputs[0])], node.name, **attributes))


@dataclass(frozen=True, eq=False)
class Gelu(_Curve):
    """x * Phi(x), Phi the normal distribution's integral or its approximation by tanh (Hendrycks & Gimpel 2016, arXiv 1606.08415)."""

    approximate: bool = False
    slow_on_integers: ClassVar[str] = (
        "a table of integers is no faster than the curve in float: ViT-tiny of 4 blocks took 5.1 ms with it and 4.8 ms without in LiteRT "
        "(tools/bench_attention.py)")

    def run(self, *inputs: Tensor) -> Tensor:
        return F.gelu(inputs[0], approximate="tanh" if self.approximate else "none")

    @property
    def tflite_form(self) -> tuple[str, str, dict[str, Any]]:
        return "GELU", "Gelu", {"approximate": self.approximate}

    @property
    def onnx_form(self) -> tuple[str, dict[str, Any]]:
        return "Gelu", {"approximate": "tanh" if self.approximate else "none"}


@dataclass(frozen=True, eq=False)
class Tanh(_Curve):
    """tanh(x)."""

    fixed: ClassVar[Grid | None] = Grid(1 / 128, 0)  # TFLite fixes it

    def run(self, *inputs: Tensor) -> Tensor:
        return inputs[0].tanh()

    @property
    def tflite_form(self) -> tuple[str, str, dict[str, Any]]:
        return "TANH", "", {}

    @property
    def onnx_form(self) -> tuple[str, dict[str, Any]]:
        return "Tanh", {}


@dataclass(frozen=True, eq=False)
class Elu(_Curve):
    """x where positive, else exp(x) - 1."""

    def run(self, *inputs: Tensor) -> Tensor:
        return F.elu(inputs[0])

    @property
    def tflite_form(self) -> tuple[str, str, dict[str, Any]]:
        return "ELU", "", {}

    @property
    def onnx_form(self) -> tuple[str, dict[str, Any]]:
        return "Elu", {"alpha": 1.0}
