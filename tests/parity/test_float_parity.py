"""The captured graph means what the torch network means."""
from __future__ import annotations

import pytest
import torch
from attention_cases import ATTENTION, FLOAT_OPS
from parity_cases import CASES
from parity_tools import RULES_USED, prepared

from edgelr.graph import aten, run


@pytest.mark.parametrize("name", CASES)
def test_graph_equals_torch(name: str) -> None:
    p = prepared(name)
    with torch.no_grad():
        for x in (p.x[:1], p.x, torch.randn(3, *p.x.shape[1:]) * 3):
            want, got = p.model(x.clone()), run(p.graph, x)
            assert got.shape == want.shape
            assert torch.allclose(got, want, rtol=1e-5, atol=1e-5 * max(1.0, float(want.abs().max())))


def test_every_rule_of_the_capture_table_is_used_by_a_case() -> None:
    for name in {**CASES, **ATTENTION, **FLOAT_OPS}:
        prepared(name)
    ours = {name for name, rule in aten.RULES.items() if not rule.__module__.endswith("aten_recurrent")}  # those have cases of their own
    assert ours - RULES_USED == set()
