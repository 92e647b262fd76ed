"""LSTM and GRU: one layer in one direction over a sequence, its gate matrices dense or factorised."""
from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from edgelr.graph.arithmetic import WEIGHT_MAX, quantize_weights
from edgelr.graph.ops import recurrent_onnx, recurrent_tflite
from edgelr.graph.ops.base import NodeLike, OnnxSpeller, Op, Shape, TfliteSpeller

Form = Literal["fused", "loop"]
FUSED_MAX = 63  # DynamicQuantizeLSTM adds two products in 16 bits on x86 without VNNI: 8-bit weights gave errors 15 times their own there


@dataclass(frozen=True, eq=False)
class GateMatrix:
    """The matrices of all gates, [gates * n, k], one above the other in torch's order: ``left`` alone, or ``left`` @ ``right``.

    ``left`` is one matrix [gates * n, k or r], or one [n, r_g] for each gate; then ``right`` [r_1 + r_2 + ..., k] holds each gate's
    factor, one above the other (a block diagonal left factor).
    """

    left: tuple[Tensor, ...]
    right: Tensor | None = None

    @property
    def inputs(self) -> int:
        return (self.left[0] if self.right is None else self.right).shape[1]

    @property
    def rows(self) -> int:
        return sum(m.shape[0] for m in self.left)

    def parts(self) -> tuple[Tensor, ...]:
        return self.left if self.right is None else (*self.left, self.right)

    def dense(self) -> Tensor:
        """The product."""
        if self.right is None:
            return torch.cat(self.left)
        rights = torch.split(self.right, [m.shape[1] for m in self.left])
        return torch.cat([left @ right for left, right in zip(self.left, rights, strict=True)])

    def reordered(self, order: Sequence[int]) -> GateMatrix:
        """The gates in another order: gate i is gate order[i] of now."""
        if len(self.left) == 1:
            blocks = self.left[0].chunk(len(order))
            return replace(self, left=(torch.cat([blocks[g] for g in order]),))
        assert self.right is not None
        rights = torch.split(self.right, [m.shape[1] for m in self.left])
        return GateMatrix(tuple(self.left[g] for g in order), torch.cat([rights[g] for g in order]))

    def mapped(self, change: Callable[[Tensor], Tensor]) -> GateMatrix:
        return GateMatrix(tuple(change(m) for m in self.left), None if self.right is None else change(self.right))


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
