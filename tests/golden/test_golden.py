"""The golden models here: operator versions, and the integer run in both files."""
from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from elsewhere import HERE, run_at
from golden_files import compared, tflite_jobs
from golden_jobs import VERSIONS, onnx_input, operators
from golden_models import GOLDEN, ONNX, golden, written

from edgelr.devices import open_session, saturates
from edgelr.graph.arithmetic import WEIGHT_MAX
from edgelr.quantization import simulate

# x86-64 without VNNI gets 7-bit weights from edgelr: there ONNX Runtime saturates with 8.
WIDEST = 63 if saturates() else WEIGHT_MAX
# ONNX Runtime computes these golden models in float, at least in part: sums in another order than torch's.
IN_FLOAT = {n for n in ONNX if golden(n, "onnx").kept} | {"bilinear"}


def test_no_operator_has_a_version_that_old_boards_were_not_tried_with() -> None:
    found: dict[str, int] = {}
    for name in GOLDEN:
        for code, version in operators(written(name, "tflite")):
            found[code] = max(found.get(code, 0), version)
            assert version <= VERSIONS.get(code, 0), f"{name}: {code} v{version}"
    assert found == VERSIONS


@pytest.mark.parametrize("name", [n for n in ONNX if n not in IN_FLOAT])
def test_an_integer_onnx_for_any_processor_is_the_integer_run_bit_for_bit(name: str) -> None:
    x = onnx_input(name)
    got = open_session(written(name, "onnx"), "onnx", as_meant=True).run(x)
    np.testing.assert_array_equal(got, simulate(golden(name, "onnx"), torch.from_numpy(x)).numpy())


@pytest.mark.parametrize("name", [n for n in ONNX if n not in IN_FLOAT])
def test_an_integer_onnx_for_this_processor_is_the_integer_run_bit_for_bit(name: str) -> None:
    x = onnx_input(name)
    got = open_session(written(name, "onnx", WIDEST), "onnx").run(x)
    np.testing.assert_array_equal(got, simulate(golden(name, "onnx", WIDEST), torch.from_numpy(x)).numpy())


@pytest.mark.parametrize("name", [n for n in sorted(IN_FLOAT) if not n.endswith("_dynamic")])
def test_an_onnx_with_operations_in_float_is_the_simulator_but_for_rounding(name: str) -> None:
    x, q = onnx_input(name), golden(name, "onnx", WIDEST)
    got, want = open_session(written(name, "onnx", WIDEST), "onnx").run(x), simulate(q, torch.from_numpy(x)).numpy()
    step = q.grids[q.graph.output].scale if q.graph.output in q.grids else 0.0
    assert np.abs(got - want).max() <= step + 1e-5 * np.abs(want).max()


def test_every_operator_runs_alone_twice_alike() -> None:
    jobs, kinds = tflite_jobs()
    rows = compared(run_at(HERE, jobs), run_at(HERE, jobs), kinds, steps=0)
    assert all(row.equal == row.values > 0 and not row.refused for row in rows.values()), rows


def test_files_are_the_same_every_time() -> None:
    for name in ("conv_3x3_same", "add", "softmax_rows"):
        made = {hashlib.sha256(written.__wrapped__(name, "tflite")).hexdigest() for _ in range(2)}
        assert len(made) == 1
