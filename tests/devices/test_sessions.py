"""A session gives what the runtime itself gives, bit for bit, in the [N, C, H, W] float world of the caller."""
from __future__ import annotations

import numpy as np
import pytest

from edgelr.devices import describe_host, open_session
from edgelr.errors import BadInputError, UsageError

SCALE, ZERO = np.float32(0.05), 3  # of the input of the fixtures
HALF_WAY = (np.arange(-40, 40) + 0.5).astype(np.float32)


@pytest.fixture
def samples() -> np.ndarray:
    x = np.random.default_rng(7).normal(0, 3, (6, 3, 8, 8)).astype(np.float32)
    x[0, 0].flat[:64] = HALF_WAY[:64] * SCALE
    return x


def test_litert_session_equals_the_interpreter_bit_for_bit(tflite_bytes: bytes, samples: np.ndarray) -> None:
    from ai_edge_litert.interpreter import Interpreter

    plain = Interpreter(model_content=tflite_bytes, num_threads=1)
    plain.allocate_tensors()
    source, sink = plain.get_input_details()[0], plain.get_output_details()[0]
    integers = []
    for sample in samples:
        q = np.clip(np.rint(sample.transpose(1, 2, 0)[None] / SCALE) + ZERO, -128, 127).astype(np.int8)
        plain.set_tensor(source["index"], q)
        plain.invoke()
        integers.append(plain.get_tensor(sink["index"]))
    expected = np.concatenate(integers)
    session = open_session(tflite_bytes, "tflite")
    assert session.integer_output
    np.testing.assert_array_equal(session.run_int(samples), expected)
    assert session.run_int(samples).dtype == np.int8
    scale, zero = sink["quantization"]
    y = session.run(samples)
    assert y.dtype == np.float32 and y.shape == (6, 5)
    np.testing.assert_array_equal(y, (expected.astype(np.float32) - zero) * np.float32(scale))


def test_litert_input_is_quantised_bit_for_bit_as_by_onnx_quantize_linear(passing_bytes: bytes) -> None:
    """Half-way points included: rounding half up, or multiplying by 1/scale, would give other integers for some."""
    import onnxruntime
    from onnx import TensorProto, helper

    nodes = [helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"])]
    constants = [helper.make_tensor("scale", TensorProto.FLOAT, [], [SCALE]), helper.make_tensor("zero", TensorProto.INT8, [], [ZERO])]
    ends = [helper.make_tensor_value_info(n, t, ["N", 4096]) for n, t in (("x", TensorProto.FLOAT), ("q", TensorProto.INT8))]
    graph = helper.make_graph(nodes, "quantise", ends[:1], ends[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    reference = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.random.default_rng(5).normal(0, 4, (3, 4096)).astype(np.float32)
    x[0, : HALF_WAY.size] = HALF_WAY * SCALE
    x[1, : HALF_WAY.size] = np.nextafter(x[0, : HALF_WAY.size], np.float32(np.inf))
    expected = reference.run(None, {"x": x})[0]
    assert {-128, 127} <= set(expected.flat)
    np.testing.assert_array_equal(open_session(passing_bytes, "tflite").run_int(x), expected)


def test_both_formats_of_one_network_agree(tflite_bytes: bytes, onnx_bytes: bytes, samples: np.ndarray) -> None:
    a = open_session(tflite_bytes, "tflite").run_int(samples).astype(int)
    b = open_session(onnx_bytes, "onnx").run_int(samples).astype(int) - 128
    assert np.abs(a - b).max() <= 4 and len(np.unique(a)) > 5


def test_ort_session_equals_onnxruntime_bit_for_bit(onnx_bytes: bytes, samples: np.ndarray) -> None:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    plain = onnxruntime.InferenceSession(onnx_bytes, options, providers=["CPUExecutionProvider"])
    session = open_session(onnx_bytes, "onnx")
    expected = plain.run(None, {"input": samples})[0]
    np.testing.assert_array_equal(session.run(samples), expected)
    integers = session.run_int(samples)
    assert integers.dtype == np.uint8
    np.testing.assert_array_equal((integers.astype(np.float32) - 123) * np.float32(0.01), expected)


def test_a_batch_gives_what_its_samples_give(tflite_bytes: bytes, onnx_bytes: bytes, samples: np.ndarray) -> None:
    for session in (open_session(tflite_bytes, "tflite"), open_session(onnx_bytes, "onnx")):
        one_by_one = np.concatenate([session.run(s[None]) for s in samples])
        np.testing.assert_array_equal(session.run(samples), one_by_one)


def test_invoke_does_not_disturb_run(tflite_bytes: bytes, onnx_bytes: bytes, samples: np.ndarray) -> None:
    for session in (open_session(tflite_bytes, "tflite"), open_session(onnx_bytes, "onnx")):
        before = session.run(samples)
        session.invoke()
        np.testing.assert_array_equal(session.run(samples), before)


@pytest.mark.parametrize("scale", np.random.default_rng(1).uniform(1e-3, 1, 8).astype(np.float32))
def test_integers_of_an_onnx_output_are_exact_for_any_scale(scale: np.float32) -> None:
    from onnx import TensorProto, helper

    nodes = [helper.make_node(f"{kind}Linear", [a, "s", "z"], [b]) for kind, a, b in (("Quantize", "x", "q"), ("Dequantize", "q", "y"))]
    constants = [helper.make_tensor("s", TensorProto.FLOAT, [], [scale]), helper.make_tensor("z", TensorProto.UINT8, [], [77])]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 256]) for name in "xy")
    model = helper.make_model(
        helper.make_graph(nodes, "g", [x], [y], constants), opset_imports=[helper.make_opsetid("", 20)], ir_version=10
    )
    every = np.arange(256, dtype=np.float32)[None]
    integers = open_session(model.SerializeToString(), "onnx").run_int((every - 77) * scale)
    np.testing.assert_array_equal(integers, every.astype(np.uint8))


def test_float_output_has_no_integers(float_tail_onnx: bytes, samples: np.ndarray) -> None:
    session = open_session(float_tail_onnx, "onnx")
    assert not session.integer_output
    with pytest.raises(BadInputError, match="no integer output"):
        session.run_int(samples)


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_samples_of_the_wrong_shape_are_told_with_both_shapes(tflite_bytes: bytes, onnx_bytes: bytes, format: str) -> None:
    session = open_session(tflite_bytes, "tflite") if format == "tflite" else open_session(onnx_bytes, "onnx")
    with pytest.raises(BadInputError) as error:
        session.run(np.zeros((2, 8, 8, 3), np.float32))
    assert "[2, 8, 8, 3]" in str(error.value) and "[N, 3, 8, 8]" in str(error.value)


def test_channels_first_file_is_taken_as_it_is(tflite_bytes: bytes, samples: np.ndarray) -> None:
    as_it_is = open_session(tflite_bytes, "tflite", channels_last=False)
    moved = np.ascontiguousarray(samples.transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(as_it_is.run(moved), open_session(tflite_bytes, "tflite").run(samples))


@pytest.mark.parametrize("data", [b"", b"junk" * 100])
def test_bytes_that_are_no_network_are_bad_input(data: bytes) -> None:
    for format in ("tflite", "onnx"):
        with pytest.raises(BadInputError):
            open_session(data, format)


def test_no_threads_is_a_usage_error(onnx_bytes: bytes) -> None:
    with pytest.raises(UsageError):
        open_session(onnx_bytes, "onnx", threads=0)


def test_the_host_is_described() -> None:
    host = describe_host()
    assert host["cpu"] and host["cores"] >= 1 and isinstance(host["isa"], list)
    assert all(host["runtimes"][name][0].isdigit() for name in ("litert", "onnxruntime"))
