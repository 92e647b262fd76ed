"""What is learnt of one operation: its weights and biases, and the scales of weights on the grid.

All of it is held relative to where training begins, so that one learning rate fits every layer of every network: weights move in steps
of their channel's grid, biases in steps of their output's, scales by their logarithm. Nothing learnt is the calibrated net, exactly.
Adam moves all weights of a sum at once, so that its result moves by their number: where more than ``FAN_IN`` weights make a sum they
move by so much less (1 / fan-in: Yang et al., arXiv 2203.03466, table 3).
"""
from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from edgelr.graph import Op
from edgelr.graph.arithmetic import WEIGHT_MAX, weight_scales
from edgelr.graph.ops import Weighted
from edgelr.graph.ops.recurrent import GateMatrix, Lstm, Recurrent, rounded
from edgelr.training.lsq import fake_quantize_weight
from edgelr.vocabulary import Numbers

FAN_IN = 128


@dataclass(frozen=True, eq=False)
class Part:
    """One weight or bias: ``start`` + ``unit`` (which broadcasts) * ``steps``, of which the last are learnt."""

    start: Tensor
    unit: Tensor
    steps: Tensor

    @staticmethod
    def matrix(start: Tensor, unit: Tensor) -> Part:
        """A weight [n, ...] whose outputs move by ``unit`` [n]."""
        share = min(1.0, FAN_IN / start[0].numel())
        return Part._of(start, unit.view(-1, *(1,) * (start.dim() - 1)) * share)

    @staticmethod
    def bias(start: Tensor, unit: float) -> Part:
        """A bias [n]. One that is 0 throughout is none, and stays so: the float network may have no place for it."""
        return Part._of(start, torch.tensor(unit if bool(start.any()) else 0.0))

    @staticmethod
    def _of(start: Tensor, unit: Tensor) -> Part:
        return Part(start.detach(), unit, torch.zeros_like(start.detach(), requires_grad=bool(unit.any())))

    @property
    def value(self) -> Tensor:
        return torch.addcmul(self.start, self.unit, self.steps)


class Learnt(Protocol):
    """``numbers`` is how the operation computes."""

    @property
    def numbers(self) -> Numbers: ...
    @property
    def op(self) -> Op:
        """The operation with what was learnt, in float."""
        ...

    def running(self) -> Op:
        """The operation with the weights that the numbers it computes in leave it; differentiable."""
        ...

    def moving(self) -> list[Tensor]:
        """What moves in steps of a grid."""
        ...


@dataclass(frozen=True, eq=False)
class LearntWeighted:
    """A convolution or linear layer: ``weight``, ``bias``, and the weight's scale [n] as ``unit`` * exp(``growth``)."""

    was: Weighted
    numbers: Numbers
    weight_max: int
    weight: Part
    bias: Part
    unit: Tensor
    growth: Tensor

    @staticmethod
    def of(op: Weighted, numbers: Numbers, weight_max: int, unit: Tensor, bias_unit: float) -> LearntWeighted:
        growth = torch.zeros_like(unit, requires_grad=True)
        return LearntWeighted(op, numbers, weight_max, Part.matrix(op.weight, unit), Part.bias(op.bias, bias_unit), unit, growth)

    def following(self, lead: LearntWeighted, gain: Tensor) -> LearntWeighted:
        """The same operation, its weight ``gain`` [n] times that of ``lead``, whose steps and scales' growth it learns."""
        own = gain.view(-1, *(1,) * (lead.weight.start.dim() - 1))
        return replace(self, weight=Part(own * lead.weight.start, own * lead.weight.unit, lead.weight.steps), growth=lead.growth)

    @property
    def scale(self) -> Tensor:
        return self.unit * self.growth.exp()

    @property
    def op(self) -> Weighted:
        return self._with(self.weight.value)

    def running(self) -> Weighted:
        weight = self.weight.value
        if self.numbers == "int8":
            return self._with(fake_quantize_weight(weight, self.scale, self.weight_max))
        if self.numbers == "dynamic":  # files have the largest weights' scales: nothing to learn there
            stored = self._with(weight.detach()).stored_dynamic(self.weight_max)
            assert isinstance(stored, Weighted)
            return self._with(_straight_through(weight, stored.weight))
        return self._with(weight)

    def moving(self) -> list[Tensor]:
        return [p.steps for p in (self.weight, self.bias) if p.steps.requires_grad]

    def _with(self, weight: Tensor) -> Weighted:
        return replace(self.was, weight=weight, bias=self.bias.value)  # type: ignore[type-var]


@dataclass(frozen=True, eq=False)
class LearntRecurrent:
    """An LSTM or GRU: each factor of its gate matrices, its projection and its biases.

    In the dynamic form each row's scale is that of its largest weight, at every step anew: files are written by that rule, so that
    there is no scale to learn, and no state of training that they can't hold.
    """

    was: Recurrent
    numbers: Numbers
    ih: tuple[Part, ...]
    hh: tuple[Part, ...]
    hr: Part | None
    bias_ih: Part
    bias_hh: Part

    @staticmethod
    def of(op: Recurrent, numbers: Numbers) -> LearntRecurrent:
        def parts(matrix: GateMatrix) -> tuple[Part, ...]:
            return tuple(Part.matrix(m, row_scales(m)) for m in matrix.parts())

        hr = op.projection
        unit = float(row_scales(op.hh.dense()).max())
        biases = [Part.bias(b, max(unit, float(b.detach().abs().max()) / WEIGHT_MAX)) for b in (op.bias_ih, op.bias_hh)]
        return LearntRecurrent(op, numbers, parts(op.ih), parts(op.hh), None if hr is None else Part.matrix(hr, row_scales(hr)), *biases)

    @property
    def op(self) -> Recurrent:
        made = replace(self.was, ih=_joined(self.was.ih, self.ih), hh=_joined(self.was.hh, self.hh),
                       bias_ih=self.bias_ih.value, bias_hh=self.bias_hh.value)
        return replace(made, hr=self.hr.value) if isinstance(made, Lstm) and self.hr else made

    def running(self) -> Recurrent:
        if self.numbers != "dynamic":
            return self.op
        op = self.op.multiplied()

        def stored(matrix: Tensor) -> Tensor:
            return _straight_through(matrix, rounded(matrix, op.weight_max))

        made = replace(op, ih=op.ih.mapped(stored), hh=op.hh.mapped(stored))
        return replace(made, hr=stored(made.hr)) if isinstance(made, Lstm) and made.hr is not None else made

    def moving(self) -> list[Tensor]:
        parts = (*self.ih, *self.hh, self.bias_ih, self.bias_hh, *([self.hr] if self.hr else []))
        return [p.steps for p in parts if p.steps.requires_grad]


def row_scales(matrix: Tensor) -> Tensor:
    """Steps of each row's symmetric int8 grid."""
    return weight_scales(matrix, torch.zeros(len(matrix)), 1.0)


def _joined(like: GateMatrix, parts: tuple[Part, ...]) -> GateMatrix:
    values = tuple(p.value for p in parts)
    return GateMatrix(values) if like.right is None else GateMatrix(values[:-1], values[-1])


def _straight_through(value: Tensor, stored: Tensor) -> Tensor:
    return value + (stored - value).detach()
