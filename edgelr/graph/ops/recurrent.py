"""LSTM and GRU: one layer in one direction over a sequence, its gate matrices dense or factorised."""
from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from edgelr.graph.arithmetic import WEIGHT_MAX, quantize_weights
from edgelr.graph.ops import recurrent_onnx, recurrent_tflite
from edgelr.graph.ops.base import NodeLike, OnnxSpeller, Op, Shape, TfliteSpeller
from edgelr.graph.ops.gates import Form, GateMatrix

__all__ = ["Form", "GateMatrix", "Gru", "Lstm", "Recurrent", "rounded"]

FUSED_MAX = 63  # DynamicQuantizeLSTM adds two products in 16 bits on x86 without VNNI: 8-bit weights gave errors 15 times their own there


def rounded(matrix: Tensor, weight_max: int) -> Tensor:
    """A matrix as its int8 form says it, each row on its own symmetric scale."""
    q = quantize_weights(matrix, torch.zeros(matrix.shape[0]), 1.0, weight_max)
    return q.weight.float() * q.scale[:, None]


@dataclass(frozen=True, eq=False)
class Recurrent(Op):
    """Input [time, features] -> output [time, hidden], from a state of zeros. Gates are in torch's order: i, f, g, o or r, z, n.

    ``ih`` [gates * hidden, features], ``hh`` [gates * hidden, hidden], biases [gates * hidden]. ``reverse`` runs from the last step to
    the first. ``form`` says how files spell it: "fused" multiplies factors out, for the format's own operation where it has
    one; "loop" is a loop over the steps that keeps factors. ``last``: the output is the last step that was run alone, [1, hidden].
    ``widest`` bounds the integer weights of the dynamic form (63 for x86 processors without VNNI).
    """

    ih: GateMatrix
    hh: GateMatrix
    bias_ih: Tensor
    bias_hh: Tensor
    reverse: bool = False
    form: Form = "fused"
    last: bool = False
    widest: int = WEIGHT_MAX
    gates: ClassVar[int]
    kind: ClassVar[str]

    @property
    def hidden(self) -> int:
        return self.ih.rows // self.gates

    @property
    def outputs(self) -> int:
        """Features of the output, and of the state that the gates read."""
        return self.hidden

    @property
    def projection(self) -> Tensor | None:
        """The matrix from hidden to output features, where there is one."""
        return None

    @property
    def weight_max(self) -> int:
        """The largest integer weight of the dynamic form."""
        return self.widest

    def multiplied(self) -> Recurrent:
        """The same with its factors multiplied out, where its form can't keep them."""
        return self if self.form == "loop" else replace(self, ih=GateMatrix((self.ih.dense(),)), hh=GateMatrix((self.hh.dense(),)))

    def float_reason(self, format: Literal["tflite", "onnx"]) -> str:
        runtime = "LiteRT" if format == "tflite" else "ONNX Runtime"
        return f"{runtime} has no integer {self.kind} that is faster than the float one"

    def stored_dynamic(self) -> Recurrent:
        op = self.multiplied()
        return replace(op, ih=op.ih.mapped(self._rounded), hh=op.hh.mapped(self._rounded))

    def _rounded(self, matrix: Tensor) -> Tensor:
        return rounded(matrix, self.weight_max)

    def shape(self, *inputs: Shape) -> Shape:
        time, features = inputs[0]
        assert features == self.ih.inputs
        return (1 if self.last else time, self.outputs)

    def run(self, *inputs: Tensor) -> Tensor:
        x = inputs[0].flip(1) if self.reverse else inputs[0]
        y = self._forward(x)
        if self.last:
            return y[:, -1:]
        return y.flip(1) if self.reverse else y

    def _forward(self, x: Tensor) -> Tensor:
        """The output over a batch of sequences, run forwards."""
        raise NotImplementedError

    def tflite(self, w: TfliteSpeller, node: NodeLike) -> None:
        recurrent_tflite.write(w, node, self.multiplied())

    def onnx(self, w: OnnxSpeller, node: NodeLike) -> None:
        recurrent_onnx.write(w, node, self.multiplied())


@dataclass(frozen=True, eq=False)
class Lstm(Recurrent):
    """Hochreiter and Schmidhuber 1997 with forget gates; with ``hr`` [projected, hidden] the output is projected (Sak et al. 2014), and
    ``hh`` reads the projection."""

    hr: Tensor | None = None
    gates: ClassVar[int] = 4
    kind: ClassVar[str] = "LSTM"

    @property
    def projection(self) -> Tensor | None:
        return self.hr

    @property
    def outputs(self) -> int:
        return self.hidden if self.hr is None else self.hr.shape[0]

    @property
    def weight_max(self) -> int:
        return min(FUSED_MAX, self.widest) if self.form == "fused" and self.hr is None else self.widest

    def stored_dynamic(self) -> Recurrent:
        op = self if self.hr is None else replace(self, hr=self._rounded(self.hr))
        return super(Lstm, op).stored_dynamic()

    def _forward(self, x: Tensor) -> Tensor:
        matrices = [self.ih.dense(), self.hh.dense(), self.bias_ih, self.bias_hh, *([] if self.hr is None else [self.hr])]
        zeros = [x.new_zeros(1, len(x), n) for n in (self.outputs, self.hidden)]
        with warnings.catch_warnings():  # torch tells that it takes a slower way for projections
            warnings.filterwarnings("ignore", "LSTM with projections is not supported with oneDNN")
            result: Tensor = torch.lstm(x, zeros, matrices, True, 1, 0.0, False, False, True)[0]
        return result


@dataclass(frozen=True, eq=False)
class Gru(Recurrent):
    """Cho et al. 2014, with the reset gate behind the recurrent product, as torch has it."""

    gates: ClassVar[int] = 3
    kind: ClassVar[str] = "GRU"

    def _forward(self, x: Tensor) -> Tensor:
        matrices = [self.ih.dense(), self.hh.dense(), self.bias_ih, self.bias_hh]
        result: Tensor = torch.gru(x, x.new_zeros(1, len(x), self.hidden), matrices, True, 1, 0.0, False, False, True)[0]
        return result
