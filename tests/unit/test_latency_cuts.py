"""Operations of written files: their names, their keys and how often they run, the same in both formats."""
from __future__ import annotations

from dataclasses import replace
from functools import cache

import onnxruntime
import pytest
import torch
from export_sample import sample, sample_1d
from torch import Tensor, nn

from edgelr.errors import BadInputError
from edgelr.export import onnx_bytes, tflite_bytes
from edgelr.graph import capture
from edgelr.graph.ops.recurrent import Recurrent
from edgelr.latency.cut import Cut, cut_operators
from edgelr.latency.file_price import file_price
from edgelr.latency.op_times import OpTimes
from edgelr.latency.operation import Operation
from edgelr.latency.pricer import Pricer
from edgelr.latency.prices import layer_us
from edgelr.latency.table import Head, Row, Table
from edgelr.quantization import quantize
from edgelr.vocabulary import Format, Kept

LAYERS = [
    "stem conv int8 1x4x4x3 1x4x4x8 3x3 1x1 1 none -",
    "side conv int8 1x4x4x8 1x4x4x4 1x1 1x1 1 none -",
    "deep depthwise int8 1x4x4x8 1x4x4x8 3x3 1x1 8 none -",
    "add add int8 1x4x4x8,1x4x4x8 1x4x4x8 1x1 1x1 1 none -",
    "cat concat int8 1x4x4x8,1x4x4x4 1x4x4x12 1x1 1x1 1 none axis3",
    "max_pool2d maxpool int8 1x4x4x12 1x2x2x12 2x2 2x2 1 none -",
    "head linear int8 1x48 1x5 1x1 1x1 1 none -",
]


class Sequence(nn.Module):
    def __init__(self, kind: type[nn.LSTM] | type[nn.GRU]) -> None:
        super().__init__()
        self.rnn, self.head = kind(10, 16, batch_first=True), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.head(self.rnn(x)[0])
        return result


def cuts(data: bytes, format: Format) -> list[Cut]:
    found = list(cut_operators(data, format))
    assert [Operation.parse(str(c.operation)) for c in found] == [c.operation for c in found]
    return found


def written(net: nn.Module, shape: tuple[int, ...], format: Format, numbers: str = "int8", form: str = "fused") -> bytes:
    torch.manual_seed(0)
    graph = capture(net.eval(), shape)
    graph = graph.with_ops({n.name: replace(n.op, form=form) for n in graph.nodes if isinstance(n.op, Recurrent)})  # type: ignore[arg-type]
    kept = None if numbers == "int8" else {n.name: Kept(numbers, "choice", "") for n in graph.nodes}  # type: ignore[arg-type]
    q = quantize(graph, dict.fromkeys(graph.shapes, (-4.0, 4.0)), kept)
    return tflite_bytes(q) if format == "tflite" else onnx_bytes(q)


@cache
def of_sample(format: Format) -> list[Cut]:
    return cuts(tflite_bytes(sample()) if format == "tflite" else onnx_bytes(sample()), format)


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_every_layer_has_its_name_and_the_same_key_in_both_formats(format: Format) -> None:
    assert set(LAYERS) <= {f"{c.name} {c.operation}" for c in of_sample(format)}


def test_an_onnx_has_besides_what_stands_at_its_ends_and_changes_of_layout() -> None:
    names = {line.split()[0] for line in LAYERS}
    rest = [c.operation.op for c in of_sample("onnx") if c.name not in names]
    assert rest == ["quantize", "transpose", "reshape", "dequantize"]


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_a_convolution_over_one_axis_is_told_with_its_channels_last(format: Format) -> None:
    data = tflite_bytes(sample_1d()) if format == "tflite" else onnx_bytes(sample_1d())
    (conv,) = [c.operation for c in cuts(data, format) if c.operation.op == "conv"]
    assert str(conv) == {"tflite": "conv int8 1x1x10x3 1x1x8x4 1x3 1x1 1 none -", "onnx": "conv int8 1x10x3 1x8x4 1x3 1x1 1 none -"}[format]


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_pads_belong_to_the_convolution_that_they_are_for(format: Format) -> None:
    data = written(nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU()), (3, 8, 8), format)
    found = [c for c in cuts(data, format) if c.operation.op in ("pad", "conv")]
    assert [f"{c.name} {c.operation}" for c in found] == ["0 conv int8 1x8x8x3 1x4x4x8 3x3 2x2 1 none -"]


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_fused_bounds_are_told_in_float(format: Format) -> None:
    net = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 1), nn.ReLU6(), nn.Conv2d(16, 4, 1))
    data = written(net, (3, 8, 8), format, "float")
    told = {c.name: c.operation.activation for c in cuts(data, format) if c.operation.op == "conv"}
    assert told == {"0": "relu", "2": "relu6", "4": "none"}
    assert all(c.operation.op not in ("relu", "relu6") for c in cuts(data, format))


def test_onnx_runtime_adds_a_shortcut_inside_of_its_float_convolution() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(4, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            y = self.a(x)
            return (y + self.b(y)).relu()

    found = cuts(written(Block(), (4, 8, 8), "onnx", "float"), "onnx")
    told = [(c.name, c.operation.op, len(c.operation.inputs), c.operation.activation) for c in found]
    assert told == [("a", "conv", 1, "none"), ("b", "conv", 1, "relu")]


@pytest.mark.parametrize(("format", "turns"), [("tflite", 4), ("onnx", 20)])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize("numbers", ["float", "dynamic", "int8"])
def test_a_loop_counts_as_often_as_it_turns_and_all_of_it_belongs_to_its_layer(
    format: Format, turns: int, kind: type[nn.LSTM] | type[nn.GRU], numbers: str
) -> None:
    found = cuts(written(Sequence(kind), (20, 10), format, numbers, "loop"), format)
    gates = 4 if kind is nn.LSTM else 3
    (loop,) = [c for c in found if c.operation.op == "loop"]
    assert loop.times == turns
    step = f"linear {'float' if numbers == 'int8' else numbers} 1x16 1x{gates * 16} 1x1 1x1 1 none -"
    assert sum(c.times for c in found if str(c.operation) == step) == 20
    assert numbers == "int8" or {c.name.partition("/")[0] for c in found} <= {"rnn", "head"}
    assert {c.name.partition("/")[0] for c in found if c.times > 1} == {"rnn"}
    for cut in found:
        if format == "onnx":
            onnxruntime.InferenceSession(cut.data, providers=["CPUExecutionProvider"])
        assert cut.data


def test_prices_add_up_by_operation_and_turn() -> None:
    head = Head("here", "litert", "1", "core", 1, "measured", "here", "2026-01-01", 0.1, "a test", call_us=7.0)
    data = written(Sequence(nn.GRU), (20, 10), "tflite", "float", "loop")
    found = cuts(data, "tflite")
    table = Table(head, {c.operation: Row(c.operation, 2.0) for c in found})
    price = file_price(data, "tflite", Pricer(table))
    assert set(price.basis.values()) == {"row"}
    assert price.times.whole_us == pytest.approx(price.times.sum_us) == pytest.approx(7.0 + 2.0 * sum(c.times for c in found), rel=0.2)
    assert layer_us(price.times, "rnn") + layer_us(price.times, "head") == pytest.approx(price.times.whole_us - 7.0)
    assert isinstance(price.times, OpTimes)


@pytest.mark.parametrize("format", ["tflite", "onnx"])
@pytest.mark.parametrize("data", [b"", b"\x1c\x00\x00\x00TFL3" + b"\xff" * 40, b"\x08\x07"])
def test_bytes_that_are_no_network_are_bad_input(format: Format, data: bytes) -> None:
    with pytest.raises(BadInputError):
        list(cut_operators(data, format))


@pytest.mark.parametrize("text", ["", "conv int8 1x2", "conv int9 1 1 1x1 1x1 1 none -", "conv int8 1xa 1 1x1 1x1 1 none -",
                                  "conv int8 1 1 1x1x1 1x1 1 none -", "conv int8 1x-2 1 1x1 1x1 1 none -"])  # fmt: skip
def test_what_is_no_operation_is_refused(text: str) -> None:
    with pytest.raises(BadInputError):
        Operation.parse(text)
