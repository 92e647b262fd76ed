"""A written file is read back whole, and any single change in it is caught and named."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import flatbuffers
import numpy as np
import onnx
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from export_sample import sample, sample_1d
from onnx import numpy_helper

from edgelr.errors import BadInputError, EdgelrError, Exit, GateError
from edgelr.export import onnx_bytes, tflite_bytes
from edgelr.export.layout import layout_of
from edgelr.export.readback import check_readback, read, read_onnx, read_tflite
from edgelr.export.written import Format
from edgelr.graph import Graph, IntegerWeights
from edgelr.quantization import Quantized
from edgelr.vocabulary import Grid

WRITERS: dict[Format, Callable[[Quantized], bytes]] = {"tflite": tflite_bytes, "onnx": onnx_bytes}
FORMATS: list[Format] = ["tflite", "onnx"]
WEIGHTED = ["stem", "deep", "side", "head"]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("q", [sample, sample_1d])
def test_what_was_written_reads_back(q: Callable[[], Quantized], format: Format) -> None:
    check_readback(q(), WRITERS[format](q()), format)


@pytest.mark.parametrize("format", FORMATS)
def test_weights_come_back_in_torch_s_layout(format: Format) -> None:
    q = sample()
    found = read(WRITERS[format](q), format).weights
    assert set(found) == set(WEIGHTED)
    for name in ("stem", "deep", "side"):
        np.testing.assert_array_equal(found[name].weight, q.weights[name].weight.numpy())
        np.testing.assert_array_equal(found[name].bias, q.weights[name].bias.numpy())
        np.testing.assert_array_equal(found[name].scale, q.weights[name].scale.numpy())
    assert found["head"].weight.shape == (5, 48)


def test_a_linear_layer_behind_a_flattened_map_has_its_columns_in_channels_last_order() -> None:
    q = sample()
    columns = layout_of(q.graph).columns[q.graph.node("head").inputs[0]]
    found = read_tflite(tflite_bytes(q)).weights["head"].weight
    np.testing.assert_array_equal(found[:, np.argsort(columns)], q.weights["head"].weight.numpy())
    assert not np.array_equal(found, q.weights["head"].weight.numpy())


def test_operators_come_with_their_types() -> None:
    written = read_tflite(tflite_bytes(sample()))
    assert written.operators[0].name == "stem" and written.operators[0].type == "CONV_2D"
    assert written.operators[0].inputs == ("input",) and written.operators[0].input_types == written.operators[0].output_types == ("int8",)
    other = read_onnx(onnx_bytes(sample()))
    assert [o.type for o in other.operators if o.name == "stem"] == ["Conv"]
    assert other.operators[0].output_types == ("uint8",)


def grid_changed(q: Quantized, name: str, **change: Any) -> Quantized:
    return replace(q, grids={**q.grids, name: replace(q.grids[name], **change)})


def weights_changed(q: Quantized, name: str, **change: Any) -> Quantized:
    w = q.weights[name]
    kept = {"weight": w.weight, "scale": w.scale, "bias": w.bias}
    return replace(q, weights={**q.weights, name: IntegerWeights(**{**kept, **change})})


def bumped(values: torch.Tensor) -> torch.Tensor:
    changed = values.clone()
    changed.view(-1)[-1] += 1
    return changed


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", WEIGHTED)
def test_every_difference_is_caught_and_named(name: str, format: Format) -> None:
    q, data = sample(), WRITERS[format](sample())
    w = q.weights[name]
    next_scale = float(np.nextafter(np.float32(q.grids[name].scale), np.float32(1)))
    others = [grid_changed(q, name, scale=next_scale), grid_changed(q, name, zero_point=q.grids[name].zero_point ^ 1),
              weights_changed(q, name, weight=bumped(w.weight)), weights_changed(q, name, bias=bumped(w.bias)),
              weights_changed(q, name, scale=torch.nextafter(w.scale, torch.ones(()))), weights_changed(q, name, weight=w.weight[:-1])]
    for other in others:
        with pytest.raises(GateError, match=rf"^{name}: ") as caught:
            check_readback(other, data, format)
        assert caught.value.exit_code == Exit.GATE


@pytest.mark.parametrize("format", FORMATS)
def test_the_first_operator_that_differs_is_the_one_named(format: Format) -> None:
    q = grid_changed(grid_changed(sample(), "head", zero_point=0), "deep", zero_point=1)
    with pytest.raises(GateError, match=r"^deep: "):
        check_readback(q, WRITERS[format](sample()), format)


@pytest.mark.parametrize("format", FORMATS)
def test_what_is_missing_or_too_much_is_caught(format: Format) -> None:
    q = sample()
    *kept, _ = q.graph.nodes
    headless = replace(q, graph=Graph.build("input", q.graph.shapes["input"], kept, kept[-1].name))
    with pytest.raises(GateError, match=r"^head: .*\n.*no scale"):
        check_readback(q, WRITERS[format](headless), format)
    data = WRITERS[format](q)
    with pytest.raises(GateError, match=r"head: .*\n.*no such weights"):
        check_readback(replace(q, weights={k: v for k, v in q.weights.items() if k != "head"}), data, format)


def repacked(change: Callable[[Any], None]) -> bytes:
    model = schema.ModelT.InitFromPackedBuf(tflite_bytes(sample()), 0)
    change(model)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def test_a_bit_flipped_in_a_tflite_s_weights_is_caught() -> None:
    def flip(model: Any) -> None:
        graph = model.subgraphs[0]
        buffer = model.buffers[graph.tensors[graph.operators[0].inputs[1]].buffer]
        buffer.data = buffer.data.copy()
        buffer.data[5] ^= 1

    with pytest.raises(GateError, match=r"^stem: .*\n.*its weight"):
        check_readback(sample(), repacked(flip), "tflite")


def test_a_bias_scale_that_is_not_the_product_is_caught() -> None:
    def change(model: Any) -> None:
        graph = model.subgraphs[0]
        parameters = graph.tensors[graph.operators[0].inputs[2]].quantization
        parameters.scale = np.float32(parameters.scale) * np.float32(1.0001)

    with pytest.raises(GateError, match=r"^stem: .*\n.*bias scale"):
        check_readback(sample(), repacked(change), "tflite")


def test_an_onnx_whose_dequantisation_differs_from_its_quantisation_is_caught() -> None:
    model = onnx.load_from_string(onnx_bytes(sample()))
    node = next(n for n in model.graph.node if n.op_type == "DequantizeLinear" and n.input[0] == "deep/q")
    model.graph.initializer.append(numpy_helper.from_array(np.float32(0.5), "other"))
    node.input[1] = "other"
    with pytest.raises(GateError, match=r"^deep: "):
        check_readback(sample(), model.SerializeToString(), "onnx")


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("data", [b"", b"\0" * 64, b"1234TFL3", b"1234TFL3" + b"\xff" * 64, b"hello world, this is text" * 4])
def test_bytes_that_are_no_file_are_bad_input(data: bytes, format: Format) -> None:
    with pytest.raises(BadInputError):
        read(data, format)


@pytest.mark.parametrize("format", FORMATS)
def test_damaged_files_raise_nothing_but_our_errors(format: Format) -> None:
    whole = WRITERS[format](sample())
    rng = np.random.default_rng(0)
    for turn in range(150):
        data = bytearray(whole[: rng.integers(8, len(whole))] if turn % 3 == 0 else whole)
        for _ in range(rng.integers(1, 4)):
            data[rng.integers(len(data))] = rng.integers(256)
        try:
            check_readback(sample(), bytes(data), format)
        except EdgelrError as error:
            assert isinstance(error, BadInputError | GateError)


def test_an_onnx_that_points_at_other_files_is_refused() -> None:
    model = onnx.load_from_string(onnx_bytes(sample()))
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/hostname")
    with pytest.raises(BadInputError, match="other files"):
        read_onnx(model.SerializeToString())


def test_the_two_formats_hold_the_same_grids() -> None:
    lite, onnx_ = read_tflite(tflite_bytes(sample())), read_onnx(onnx_bytes(sample()))
    both = {v for v in sample().graph.shapes if v in lite.grids and v in onnx_.grids}
    assert len(both) >= len(sample().graph.shapes) - 1
    assert all(lite.grids[v] == onnx_.grids[v] == sample().grids[v] for v in both)
    assert isinstance(lite.grids["input"], Grid)
