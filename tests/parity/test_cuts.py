"""A cut is what the runtime runs inside of the whole file: the same numbers come out, and the same kernels run."""
from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from export_sample import sample
from numpy.typing import NDArray

from edgelr.export import onnx_bytes, tflite_bytes
from edgelr.latency.cut import cut_operators
from edgelr.latency.gauges import CHAINED, gauge_files
from edgelr.vocabulary import Format

Arrays = Mapping[str, NDArray[Any]]


def run(data: bytes, feed: Arrays) -> Arrays:
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(names, {i.name: feed[i.name] for i in session.get_inputs()}), strict=True))


def kernels(data: bytes, feed: Arrays, folder: Path) -> Counter[str]:
    """The kernels that a run of the file profiles."""
    options = onnxruntime.SessionOptions()
    options.enable_profiling, options.profile_file_prefix = True, str(folder / "profile")
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    session.run(None, {i.name: feed[i.name] for i in session.get_inputs()})
    events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return Counter(e["args"]["op_name"] for e in events if e.get("cat") == "Node" and e["name"].endswith("_kernel_time"))


@pytest.mark.parametrize("blocked", [False, True])
def test_cuts_of_an_onnx_run_one_after_the_other_are_the_network(blocked: bool, tmp_path: Path) -> None:
    data = onnx_bytes(sample())
    values: dict[str, NDArray[Any]] = {"input": np.random.default_rng(0).normal(0, 2, (1, 3, 4, 4)).astype(np.float32)}
    whole = run(data, values)["output"]
    ran: Counter[str] = Counter()
    for cut in cut_operators(data, "onnx", blocked=blocked):
        ran += kernels(cut.data, values, tmp_path)
        values |= run(cut.data, values)
    np.testing.assert_array_equal(values["output"], whole)
    assert ran == kernels(data, values, tmp_path)
    assert ran["QLinearConv"] == 3
    assert ran["QGemm"] == 1


def test_cuts_of_a_tflite_run_one_after_the_other_are_the_network() -> None:
    from ai_edge_litert.interpreter import Interpreter

    data = tflite_bytes(sample())
    rng = np.random.default_rng(0)
    values: dict[str, NDArray[Any]] = {}

    def called(content: bytes) -> Arrays:
        interpreter = Interpreter(model_content=content, num_threads=1)
        interpreter.allocate_tensors()
        for spec in interpreter.get_input_details():
            values.setdefault(spec["name"], rng.integers(-128, 128, spec["shape"]).astype(np.int8))
            interpreter.set_tensor(spec["index"], values[spec["name"]])
        interpreter.invoke()
        return {o["name"]: interpreter.get_tensor(o["index"]) for o in interpreter.get_output_details()}

    whole = called(data)
    last = ""
    for cut in cut_operators(data, "tflite"):
        values |= called(cut.data)
        last = cut.name
    np.testing.assert_array_equal(values[last], whole[last])


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_gauges_are_one_operation_and_a_chain_of_them(format: Format) -> None:
    found = {name: [c.key for c in cut_operators(data, format)] for name, data in gauge_files(format).items()}
    assert len(found["one"]) == 1
    assert len(found["chain"]) == CHAINED
    assert len(set(found["chain"])) == 1


def test_a_cut_holds_no_more_than_its_own_constants() -> None:
    data = onnx_bytes(sample())
    sizes = {c.name: sum(len(t.raw_data) for t in onnx.load_from_string(c.data).graph.initializer) for c in cut_operators(data, "onnx")}
    assert sizes["stem"] < 3 * 8 * 9 + 8 * 4 + 8 * 4 + 100
