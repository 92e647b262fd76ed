"""Tensors that are 0 throughout, or constant: they get a grid that both runtimes take, and what they are stays what it is."""
from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from one_op import onnx, tflite
from torch import Tensor, nn

from edgelr.errors import BadInputError
from edgelr.graph import capture
from edgelr.graph.arithmetic import dequantize, quantize
from edgelr.quantization import Quantized, calibrate, grid_of, simulate_integers

SHAPE = (3, 6, 6)


def quantized(values: Tensor, dead: bool = False, zero: bool = False) -> Quantized:
    """Two convolutions calibrated on ``values``; ``dead``: the first one's ReLU lets nothing pass; ``zero``: its weights are 0."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 5, 3)).eval()
    with torch.no_grad():
        if dead:
            net[0].bias.fill_(-100)
        if zero:
            net[0].weight.zero_()
            net[0].bias.zero_()
    return calibrate(capture(net, SHAPE), [values])


def agree(q: Quantized, x: Tensor) -> None:
    want = simulate_integers(q, x).numpy()
    np.testing.assert_array_equal(onnx(q, x.numpy()), want)
    assert np.abs(tflite(q, x.numpy()) - want).max() <= 1


CASES = {
    "dead": (lambda x: quantized(x, dead=True), torch.randn(4, *SHAPE)),
    "zero weights": (lambda x: quantized(x, zero=True), torch.randn(4, *SHAPE)),
    "constant input": (quantized, torch.full((2, *SHAPE), 5.0)),
    "negative constant input": (quantized, torch.full((2, *SHAPE), -0.3)),
    "zero input": (quantized, torch.zeros(2, *SHAPE)),
    "all of it": (lambda x: quantized(x, zero=True), torch.zeros(2, *SHAPE)),
}


@pytest.mark.parametrize("name", CASES)
def test_both_files_take_it_and_agree(name: str) -> None:
    build, x = CASES[name]
    q = build(x)
    agree(q, x)
    agree(q, torch.randn(3, *SHAPE))  # and with what calibration did not see


def test_a_layer_of_zeros_gives_the_next_layers_bias() -> None:
    q, x = quantized(torch.randn(4, *SHAPE), dead=True), torch.randn(2, *SHAPE)
    last = q.graph.nodes[-1]
    got = dequantize(torch.from_numpy(onnx(q, x.numpy()).astype(np.float32)), q.grids[last.name])
    assert (got - last.op.bias.view(1, -1, 1, 1)).abs().max() <= 0.5001 * q.grids[last.name].scale


def test_without_a_least_scale_litert_does_not_load_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # the function of the same name hides the module
    monkeypatch.setattr(sys.modules["edgelr.quantization.calibrate"], "_least_scale", lambda *_: 0.0)
    x = torch.randn(4, *SHAPE)
    q = quantized(x, dead=True)
    with pytest.raises(BadInputError):
        tflite(q, x.numpy())


def test_the_grid_of_nothing_is_a_grid() -> None:
    grid = grid_of(0.0, 0.0)
    assert grid.scale > 0
    back = dequantize(quantize(torch.zeros(3), grid), grid)
    assert torch.equal(back, torch.zeros(3))
