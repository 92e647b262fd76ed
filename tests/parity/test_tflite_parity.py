"""The .tflite file, in LiteRT, is the integer run within one step an operation."""
from __future__ import annotations

import numpy as np
import pytest
import torch
from parity_cases import CASES, NETS
from parity_tools import LiteRT, prepared, tflite_of

from edgelr.export.account import account, layout_excess
from edgelr.export.readback import check_readback
from edgelr.export.verify import compare, gate
from edgelr.graph.arithmetic import dequantize, quantize
from edgelr.quantization import simulate

EQUAL = 0.999  # share of a kind's values that are equal where each operation is fed the file's own integers; the rest is one step off
# LiteRT's own product of matrices rounds twice, with a multiplier of 31 bits.
# XNNPACK changes grids and bends at zero with multipliers of 8 fractional bits, and interpolates in fixed point: still within one step.
LOOSER = {"Requantize": 0.6, "LeakyRelu": 0.8, "Bilinear": 0.5, "MatMul": 0.98}


@pytest.mark.parametrize("name", CASES)
def test_every_operation_is_within_one_step(name: str) -> None:
    q, x = prepared(name).q, prepared(name).x
    session = LiteRT(tflite_of(name), q, keep=True)
    totals: dict[str, list[int]] = {}
    for sample in quantize(torch.cat([x, x[:1] * 3]), q.grids[q.graph.input]).split(1):
        session.invoke(sample)
        values = dict(session.values())
        for node in q.graph.nodes:
            if node.name in values and all(i in values for i in node.inputs):
                want = node.op.integer([values[i] for i in node.inputs], [q.grids[i] for i in node.inputs], q.grids[node.name],
                                       q.weights.get(node.name))
                off = (want - values[node.name]).abs()
                assert off.max() <= 1, f"{node.name} ({type(node.op).__name__}): {int(off.max())} steps off"
                total = totals.setdefault(type(node.op).__name__, [0, 0])
                total[0] += off.numel()
                total[1] += int((off > 0).sum())
    for kind, (count, flips) in totals.items():
        assert flips <= max(1, (1 - LOOSER.get(kind, EQUAL)) * count), f"{kind}: {flips} of {count} values are one step off"


@pytest.mark.parametrize("name", CASES)
def test_file_reads_back_and_is_int8_throughout(name: str) -> None:
    p = prepared(name)
    data = tflite_of(name)
    check_readback(p.q, data, "tflite")
    counted = account(data, "tflite")
    assert counted.float == counted.other == counted.joined == 0
    assert counted.int8 == sum(counted.by_type.values())
    session = LiteRT(data, p.q)
    assert session.input["dtype"] == session.output["dtype"] == np.int8


@pytest.mark.parametrize("name", NETS)
def test_whole_networks_pass_the_gate_and_keep_their_signal(name: str) -> None:
    p = prepared(name)
    grid = p.q.grids[p.q.graph.output]
    session = LiteRT(tflite_of(name), p.q)
    x = torch.randn(16, *p.x.shape[1:])
    got = dequantize(session.run(quantize(x, p.q.grids[p.q.graph.input])), grid).numpy()
    agreement = compare(simulate(p.q, x).numpy(), got, grid.scale)
    gate(agreement, "tflite")
    assert agreement.equal_fraction >= 0.9
    with torch.no_grad():
        assert compare(p.model(x).numpy(), got, grid.scale).sqnr_db > 15
    assert session.operators().count("DELEGATE") == 1  # XNNPACK takes the network whole


@pytest.mark.parametrize("name", NETS)
def test_whole_networks_move_no_data_that_the_source_did_not(name: str) -> None:
    assert layout_excess(prepared(name).graph, tflite_of(name), "tflite") == ()
