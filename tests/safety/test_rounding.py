"""Results that lie half-way between two steps: the integer run and ONNX Runtime take the even one, LiteRT one of the two."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from one_op import every_integer, one, outputs

from edgelr.graph import IntegerWeights
from edgelr.graph.ops import Add, Conv, GlobalMean, Linear, Mul, Op, Shape
from edgelr.vocabulary import Grid

HALF = Grid(0.5, 0)
ONE = IntegerWeights(torch.ones(1, 1, 1, 1, dtype=torch.int8), torch.ones(1), torch.zeros(1, dtype=torch.int32))
ONE_LINEAR = IntegerWeights(torch.ones(1, 1, dtype=torch.int8), torch.ones(1), torch.zeros(1, dtype=torch.int32))


@dataclass(frozen=True, eq=False)
class Case:
    """``y`` is the output's grid; the input's is ``HALF``. About half of all results lie half-way."""

    op: Op
    shape: Shape
    y: Grid
    weights: IntegerWeights | None = None
    times: int = 1


CASES = {
    "conv": Case(Conv(torch.ones(1, 1, 1, 1), torch.zeros(1), (1, 1), (0,) * 4, (1, 1)), (1, 16, 16), Grid(1.0, 0), ONE),
    "conv, odd zero point": Case(Conv(torch.ones(1, 1, 1, 1), torch.zeros(1), (1, 1), (0,) * 4, (1, 1)), (1, 16, 16), Grid(1.0, -7), ONE),
    "linear": Case(Linear(torch.ones(1, 1), torch.zeros(1)), (1,), Grid(1.0, 0), ONE_LINEAR),
    "add": Case(Add(), (1, 16, 16), Grid(2.0, 0), None, 2),
    "add, odd zero point": Case(Add(), (1, 16, 16), Grid(2.0, 5), None, 2),
    "mul": Case(Mul(), (1, 16, 16), Grid(32.0, 0), None, 2),
    "mean": Case(GlobalMean(), (128, 2, 1), HALF),
}


@pytest.mark.parametrize("name", CASES)
def test_half_way_results(name: str) -> None:
    case = CASES[name]
    integers = every_integer(256 if case.shape == (1,) else 4, *case.shape)
    real = case.op.run(*(integers * HALF.scale,) * case.times).double().numpy() / case.y.scale
    half_way = np.abs(real - np.floor(real) - 0.5) < 1e-12
    assert half_way.mean() > 0.05
    got = outputs(one(case.op, case.shape, HALF, case.y, case.weights, case.times), integers)
    np.testing.assert_array_equal(got.simulated, got.onnx)
    assert np.abs(got.tflite - got.simulated).max() <= 1
    # The zero point is added after the rounding, but QLinearAdd and QLinearMul have it in before: the even integer of the grid then.
    before = case.y.zero_point if isinstance(case.op, Add | Mul) else 0
    even = np.clip(np.rint(real + before) - before + case.y.zero_point, -128, 127)
    up = np.clip(np.floor(real + 0.5) + case.y.zero_point, -128, 127)
    np.testing.assert_array_equal(got.simulated, even)
    assert (up != even).any()  # rounding half up would be seen
