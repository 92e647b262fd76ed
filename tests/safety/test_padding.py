"""Padding is with the real number 0, which is the zero point and not the integer 0; and each side has its own width."""
from __future__ import annotations

import numpy as np
import pytest
import torch
from one_op import Outputs, every_integer, one, outputs
from torch.nn import functional as F

from edgelr.graph import IntegerWeights
from edgelr.graph.arithmetic import dequantize
from edgelr.graph.ops import Conv, MaxPool, Op, Pad
from edgelr.vocabulary import Grid

PADS = {"none after": (1, 2, 0, 0), "none before": (0, 0, 2, 1), "unequal": (2, 0, 1, 3), "same": (1, 1, 1, 1)}  # top, left, bottom, right
ZERO_POINTS = (-128, -26, 0, 90)
SHAPE = (4, 7, 6)


def all_equal(got: Outputs, want: np.ndarray, slack: float) -> bool:
    return all(np.abs(v - want).max() <= slack for v in vars(got).values())


@pytest.mark.parametrize("zero_point", ZERO_POINTS)
@pytest.mark.parametrize("pads", PADS.values(), ids=PADS)
@pytest.mark.parametrize("groups", [1, 4])
def test_convolution(zero_point: int, pads: tuple[int, ...], groups: int) -> None:
    rng = np.random.RandomState(3)
    integer = torch.from_numpy(rng.randint(-127, 128, (4, 4 // groups, 3, 3)).astype(np.int8))
    weights = IntegerWeights(integer, torch.full((4,), 0.01), torch.tensor([100, -200, 300, 0], dtype=torch.int32))
    x, y = Grid(0.02, zero_point), Grid(0.25, 7)
    op = Conv(integer.float() * 0.01, weights.bias.float() * 0.01 * 0.02, (1, 1), pads, (1, 1), groups)
    integers = every_integer(3, *SHAPE)
    got = outputs(one(op, SHAPE, x, y, weights), integers)

    def exact(padded_with: float) -> np.ndarray:
        """The float result on the grid, the padding's integer chosen."""
        top, left, bottom, right = pads
        padded = dequantize(F.pad(integers, (left, right, top, bottom), value=padded_with), x).double()
        real = F.conv2d(padded, op.weight.double(), op.bias.double(), groups=groups)
        return np.clip(real.numpy() / y.scale + y.zero_point, -128, 127)

    np.testing.assert_array_equal(got.simulated, got.onnx)
    assert all_equal(got, exact(zero_point), 1)
    if zero_point:  # the mistake would be seen
        assert not all_equal(got, exact(0), 3)


@pytest.mark.parametrize("zero_point", ZERO_POINTS)
@pytest.mark.parametrize("op", [MaxPool((3, 3), (2, 2), (1, 0, 0, 1)), MaxPool((3, 3), (1, 1), (1, 1, 1, 1)), Pad((0, 2, 0, 0, 1, 3))])
def test_operations_that_only_move_values(zero_point: int, op: Op) -> None:
    grid, integers = Grid(0.02, zero_point), every_integer(3, *SHAPE)
    got = outputs(one(op, SHAPE, grid, grid), integers)
    want = op.run(dequantize(integers, grid)).numpy() / grid.scale + zero_point
    assert all_equal(got, np.rint(want), 0)
