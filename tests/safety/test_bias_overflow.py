"""A bias that int32 can't hold at the weights' own scale: the scale is raised, and the result is right."""
from __future__ import annotations

import numpy as np
import pytest
import torch
from one_op import every_integer, one, onnx, outputs
from torch import Tensor

from edgelr.graph import IntegerWeights, arithmetic
from edgelr.graph.arithmetic import BIAS_MAX, dequantize, quantize_weights
from edgelr.graph.ops import Conv, Linear
from edgelr.vocabulary import Grid

X, Y = Grid(0.01, -20), Grid(0.05, -10)
BIAS = torch.tensor([5.0, -5.0, 0.25])
WEIGHT = torch.linspace(-1, 1, 12).view(3, 4) * torch.tensor([[1e-9], [1e-9], [0.5]])
OPS = {"conv": (Conv(WEIGHT[:, :, None, None], BIAS, (1, 1), (0,) * 4, (1, 1)), (4, 8, 8)), "linear": (Linear(WEIGHT, BIAS), (4,))}


def without_room(weight: Tensor, bias: Tensor, input_scale: float, weight_max: int) -> Tensor:
    return (weight.detach().abs().flatten(1).amax(1) / weight_max).float()


@pytest.mark.parametrize("kind", OPS)
@pytest.mark.parametrize("guarded", [True, False])
def test_a_bias_far_larger_than_its_weights_is_kept(kind: str, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not guarded:
        monkeypatch.setattr(arithmetic, "weight_scales", without_room)
    op, shape = OPS[kind]
    integers = every_integer(4, *shape)
    got = outputs(one(op, shape, X, Y, quantize_weights(op.weight, op.bias, X.scale)), integers)
    want = op.run(dequantize(integers, X)).numpy() / Y.scale + Y.zero_point
    steps = {n: np.abs(np.clip(want, -128, 127) - v).max() for n, v in vars(got).items()}
    if guarded:
        assert max(steps.values()) <= 1
    else:
        assert min(steps.values()) > 90  # the whole bias of 5 is lost


def test_room_is_left_for_the_products() -> None:
    """A bias at int32's end fits, but a product more and the sum wraps round."""
    op = Linear(torch.ones(1, 64), torch.zeros(1))
    integers = torch.full((1, 64), 127.0)
    x, y = Grid(1.0, -128), Grid(2.0**25, -128)
    kept, wrapped = (IntegerWeights(torch.full((1, 64), 127, dtype=torch.int8), torch.ones(1), torch.tensor([b], dtype=torch.int32))
                     for b in (BIAS_MAX, 2**31 - 1))
    got = outputs(one(op, (64,), x, y, kept), integers)
    assert got.simulated == got.onnx == got.tflite == round((BIAS_MAX + 64 * 127 * 255) / 2**25) - 128
    broken = one(op, (64,), x, y, wrapped)
    assert onnx(broken, dequantize(integers, x).numpy()) == -128  # instead of -64
