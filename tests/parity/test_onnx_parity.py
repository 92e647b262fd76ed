"""The .onnx file, in ONNX Runtime, is the integer run bit for bit."""
from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
import torch
from parity_cases import CASES
from parity_tools import fused_onnx, onnx_of, prepared, run_onnx

from edgelr.export.account import account
from edgelr.export.readback import check_readback
from edgelr.export.verify import compare, gate
from edgelr.quantization import simulate

# ONNX Runtime computes these in float between a DequantizeLinear and a QuantizeLinear: it has no integer kernel that it fuses them into.
UNFUSED = {"Pad", "Resize"}


@pytest.mark.parametrize("name", CASES)
def test_file_equals_integer_run_bit_for_bit(name: str) -> None:
    p = prepared(name)
    for x in (p.x, p.x[:1], torch.randn(2, *p.x.shape[1:]) * 4):  # the last goes beyond the grids: saturation is compared too
        want, got = simulate(p.q, x).numpy(), run_onnx(onnx_of(name), x.numpy())
        assert got.shape == want.shape
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("name", CASES)
def test_file_is_valid_reads_back_and_fuses(name: str) -> None:
    data = onnx_of(name)
    onnx.checker.check_model(data, full_check=True)
    check_readback(prepared(name).q, data, "onnx")
    counted = account(data, "onnx")
    assert counted.int8 + counted.float + counted.dynamic == sum(counted.by_type.values()) == len(
        onnx.load_from_string(data).graph.node)
    assert {kind for _, kind in counted.float_ops} <= UNFUSED
    floats = {o for o in fused_onnx(data) if not o.startswith(("QLinear", "QGemm", "Nhwc"))}
    assert floats - UNFUSED <= {"QuantizeLinear", "DequantizeLinear", "Transpose", "Reshape", "MaxPool", "Concat", "Slice", "Split"}


@pytest.mark.parametrize("name", ["resnet", "mobilenet_v2", "mobilenet_v3", "squeezenet", "vgg", "densenet", "mlp_net"])
def test_whole_networks_pass_the_gate_and_keep_their_signal(name: str) -> None:
    p = prepared(name)
    step = p.q.grids[p.q.graph.output].scale
    got = run_onnx(onnx_of(name), p.x.numpy())
    gate(compare(simulate(p.q, p.x).numpy(), got, step), "onnx")
    with torch.no_grad():
        assert compare(p.model(p.x).numpy(), got, step).sqnr_db > 20


@pytest.mark.parametrize("name", ["resnet", "mobilenet_v3", "squeezenet", "conv1d_net", "flatten_linear", "concat_mixed"])
def test_onnxsim_finds_nothing_to_simplify(name: str) -> None:
    onnxsim = pytest.importorskip("onnxsim")
    model = onnx.load_from_string(onnx_of(name))
    simplified, same = onnxsim.simplify(model)
    assert same
    assert Counter(n.op_type for n in simplified.graph.node) == Counter(n.op_type for n in model.graph.node)
