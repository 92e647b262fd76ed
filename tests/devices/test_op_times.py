"""Every operation of a written file has its time, under its own name, and together they make the whole."""
from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest

from edgelr.devices import open_session
from edgelr.errors import BadInputError
from edgelr.latency import litert_op_times, ort_op_times
from edgelr.latency.litert_cut import cut_operators, pack

LAYERS = ["stem", "stage.0", "stage.1", "stage.2", "stage.3", "stage.4", "head.0", "head.1", "fc"]


def test_every_litert_operator_has_a_row_and_they_sum_to_the_whole(deep: dict[str, bytes]) -> None:
    times = litert_op_times(deep["tflite"])
    adds = [f"stage.{i}_add" for i in range(1, 5)]
    assert set(times.us) == {*LAYERS, *adds, "mean"}
    assert all(value >= 0 for value in times.us.values())
    assert times.sum_us == pytest.approx(times.whole_us, rel=0.3)
    assert times.us["stage.1"] > 3 * times.us["head.0"] > 0


def test_equal_litert_operators_are_timed_once(deep: dict[str, bytes]) -> None:
    cuts = list(cut_operators(deep["tflite"]))
    keys = {cut.name: cut.key for cut in cuts}
    assert keys["stage.1"] == keys["stage.4"] != keys["stage.0"]
    assert len({cut.key for cut in cuts}) == 8
    times = litert_op_times(deep["tflite"], rounds=5).us
    assert times["stage.1"] == times["stage.2"] == times["stage.3"]


def test_a_cut_computes_what_its_operator_computes(chain_bytes: bytes) -> None:
    cuts = [cut.data for cut in cut_operators(chain_bytes)]
    x = y = np.random.default_rng(3).normal(0, 3, (2, 3, 8, 8)).astype(np.float32)
    for data in cuts:
        y = open_session(data, "tflite").run(y)
    assert y.std() > 0
    np.testing.assert_array_equal(y, open_session(chain_bytes, "tflite").run(x))


def test_constants_kept_behind_the_flatbuffer_are_cut_with_their_operator(chain_bytes: bytes) -> None:
    """As stock converters write large weights: read as empty, an operator would run on other kernels and look slow."""
    moved = _with_constants_behind(chain_bytes)
    x = np.random.default_rng(3).normal(0, 3, (2, 3, 8, 8)).astype(np.float32)
    np.testing.assert_array_equal(open_session(moved, "tflite").run(x), open_session(chain_bytes, "tflite").run(x))
    inline, behind = list(cut_operators(chain_bytes)), list(cut_operators(moved))
    assert [cut.key for cut in inline] == [cut.key for cut in behind]
    assert [cut.data for cut in inline] == [cut.data for cut in behind]


def _with_constants_behind(data: bytes) -> bytes:
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    constants = [(buffer, bytes(buffer.data)) for buffer in model.buffers if buffer.data is not None and len(buffer.data) > 64]
    assert constants
    for buffer, value in constants:
        buffer.data, buffer.offset, buffer.size = None, 1 << 20, len(value)
    end = -(-len(pack(model)) // 16) * 16
    tail = b""
    for buffer, value in constants:
        buffer.offset = end + len(tail)
        tail += value + bytes(-len(value) % 16)
    front = pack(model)
    return front + bytes(end - len(front)) + tail


def test_every_onnx_node_has_a_row_and_they_sum_to_the_whole(deep: dict[str, bytes]) -> None:
    times = ort_op_times(deep["onnx"])
    adds = [f"stage.{i}_add" for i in range(1, 5)]
    assert {*LAYERS, *adds, "mean", "flat"} <= set(times.us)
    assert times.us["stem_relu"] == 0  # merged into its convolution
    assert times.sum_us == pytest.approx(times.whole_us, rel=1e-6)
    assert times.other_us < 0.25 * times.whole_us
    assert times.us["stage.1"] > 2 * times.us["head.0"] > 0


def test_profiles_leave_no_files(onnx_bytes: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    ort_op_times(onnx_bytes, runs=30)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("data", [b"", b"\x1c\x00\x00\x00TFL3" + b"\xff" * 40])
def test_bytes_that_are_no_network_are_bad_input(data: bytes) -> None:
    with pytest.raises(BadInputError):
        litert_op_times(data)
    with pytest.raises(BadInputError):
        ort_op_times(data)
