"""Operations of written files: their names, their keys and how often they run, the same in both formats."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import onnxruntime
import pytest
import torch
from export_sample import sample, sample_1d
from torch import Tensor, nn

from edgelr.devices import open_session
from edgelr.devices.harness.runtimes import LiteRT, Ort
from edgelr.errors import BadInputError
from edgelr.export import onnx_bytes, tflite_bytes
from edgelr.graph import capture
from edgelr.graph.ops.recurrent import Recurrent
from edgelr.graph.recurrent import trimmed
from edgelr.latency.cut import Cut, cut_operators
from edgelr.latency.families import turns_of
from edgelr.latency.file_price import file_price
from edgelr.latency.gauges import CHAIN, own_us
from edgelr.latency.op_times import OpTimes
from edgelr.latency.operation import NEAR, Operation
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
    def __init__(self, kind: type[nn.LSTM] | type[nn.GRU], state: int = 16, every: bool = True) -> None:
        super().__init__()
        self.rnn, self.head, self.every = kind(10, state, batch_first=True), nn.Linear(state, 4), every

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.rnn(x)[0]
        result: Tensor = self.head(y if self.every else y[:, -1])
        return result


def loop_of(data: bytes, format: Format) -> Cut:
    (loop,) = [c for c in cuts(data, format) if c.operation.op == "loop"]
    return loop


def cuts(data: bytes, format: Format) -> list[Cut]:
    found = list(cut_operators(data, format))
    assert [Operation.parse(str(c.operation)) for c in found] == [c.operation for c in found]
    return found


def written(
    net: nn.Module, shape: tuple[int, ...], format: Format, numbers: str = "int8", form: str = "fused", reverse: bool = False
) -> bytes:
    torch.manual_seed(0)
    graph = trimmed(capture(net.eval(), shape))
    recurrent = {n.name: n.op for n in graph.nodes if isinstance(n.op, Recurrent)}
    graph = graph.with_ops({name: replace(op, form=form, reverse=reverse) for name, op in recurrent.items()})  # type: ignore[arg-type]
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
    assert (loop.times, loop.operation.detail) == (1, f"turns{turns}")
    assert {c.times for c in found} == {1, turns}
    step = f"linear {'float' if numbers == 'int8' else numbers} 1x16 1x{gates * 16} 1x1 1x1 1 none {NEAR}"
    assert sum(c.times for c in found if str(c.operation) == step) == 20
    assert numbers == "int8" or {c.name.partition("/")[0] for c in found} <= {"rnn", "head"}
    assert {c.name.partition("/")[0] for c in found if c.times > 1} == {"rnn"}
    for cut in found:
        if format == "onnx":
            onnxruntime.InferenceSession(cut.data, providers=["CPUExecutionProvider"])
        assert cut.data


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("steps", [7, 20])
def test_a_loops_own_file_turns_as_often_as_the_loop_and_does_no_work(
    kind: type[nn.LSTM] | type[nn.GRU], reverse: bool, steps: int
) -> None:
    """In a .tflite the counter comes back as where it ended; in an .onnx each turn gives the state out."""
    files = {f: loop_of(written(Sequence(kind), (steps, 10), f, "float", "loop", reverse), f) for f in ("tflite", "onnx")}  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    given = [rng.random(shape, np.float32) for shape in files["tflite"].operation.inputs[:2]]
    counter, gates, every, *states = LiteRT(files["tflite"].data, 1).run(given)
    assert counter.item() == (-(steps // turns_of(files["tflite"].operation)) if reverse else steps)
    assert np.array_equal(gates, given[0]) and not every.any() and not np.concatenate(states).any()
    *shapes, row = files["onnx"].operation.inputs
    turns = turns_of(files["onnx"].operation)
    begun = rng.random(shapes[0], np.float32)  # of all states: ONNX Runtime makes them one
    *ended, results = Ort(files["onnx"].data, 1).run([begun, rng.random((turns, *row), np.float32)])
    assert results.shape == (steps, 1, 16) and all(np.array_equal(state, begun) for state in (*ended, *results))
    assert len(ended) == len(shapes)


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_what_a_loop_does_itself_is_in_its_own_cut_alone(format: Format) -> None:
    """Counting, and gathering the output of every step."""
    inside = [c.operation for c in cuts(written(Sequence(nn.LSTM), (20, 10), format, "float", "loop"), format) if c.times > 1]
    assert not {"dynamic_update_slice", "identity"} & {o.op for o in inside}
    assert all(o.detail != "index" for o in inside)


def test_loops_that_take_another_time_have_another_key() -> None:
    def key(kind: type[nn.LSTM] | type[nn.GRU], steps: int, state: int, format: Format, numbers: str = "float", every: bool = True) -> str:
        net = Sequence(kind, state, every)
        return str(loop_of(written(net, (steps, 10), format, numbers, "loop"), format).operation)

    assert key(nn.LSTM, 20, 16, "tflite") == "loop float 20x64,20x16,1x16,1x16 1 1x1 1x1 1 none turns4"
    assert key(nn.LSTM, 20, 16, "tflite", every=False) == "loop float 20x64,1x16,1x16 1 1x1 1x1 1 none turns4"
    assert key(nn.GRU, 7, 16, "tflite") == "loop float 7x48,7x16,1x16 1 1x1 1x1 1 none turns7"
    assert key(nn.LSTM, 8, 400, "tflite").endswith(" turns8")  # one step a turn, for its matrices are large
    assert key(nn.LSTM, 8, 400, "tflite", "dynamic").endswith(" turns2")
    assert key(nn.LSTM, 20, 16, "onnx") == "loop float 1x16,1x16,1x64 1x16 1x1 1x1 1 none turns20"
    assert key(nn.GRU, 20, 16, "onnx") == "loop float 1x16,1x48 1x16 1x1 1x1 1 none turns20"


def test_prices_add_up_by_operation_and_turn() -> None:
    head = Head("here", "litert", "1", "core", 1, "measured", "here", "2026-01-01", 0.1, "a test", call_us=7.0)
    data = written(Sequence(nn.GRU), (20, 10), "tflite", "float", "loop")
    found = cuts(data, "tflite")
    table = Table(head, {c.operation: Row(c.operation, 2.0) for c in found})
    price = file_price(data, "tflite", Pricer(table))
    assert set(price.basis.values()) == {"row"}
    counted = [c for c in found if c.operation.detail != "index" and c.operation.op != "fill"]
    assert price.times.whole_us == pytest.approx(price.times.sum_us) == pytest.approx(7.0 + 2.0 * sum(c.times for c in counted))
    assert layer_us(price.times, "rnn") + layer_us(price.times, "head") == pytest.approx(price.times.whole_us - 7.0)
    assert isinstance(price.times, OpTimes)


def test_a_loops_row_is_the_whole_loop_and_counts_once() -> None:
    head = Head("here", "litert", "1", "core", 1, "measured", "here", "2026-01-01", 0.1, "a test", call_us=7.0)
    data = written(Sequence(nn.LSTM), (20, 10), "tflite", "float", "loop")
    rows = {c.operation: Row(c.operation, 100.0 if c.operation.op == "loop" else 0.0) for c in cuts(data, "tflite")}
    assert file_price(data, "tflite", Pricer(Table(head, rows))).times.whole_us == pytest.approx(107.0)


class Between(nn.Module):
    """A function between two convolutions."""

    def __init__(self, between: Callable[[Tensor], Tensor], twice: bool = False) -> None:
        super().__init__()
        self.a, self.b, self.c, self.between, self.twice = (*(nn.Conv2d(16, 16, 1) for _ in range(3)), between, twice)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.a(x)
        result: Tensor = self.b(self.between(y))
        return result + self.c(torch.sigmoid(y)) if self.twice else result


@pytest.mark.parametrize(("between", "words"), [
    (torch.sigmoid, ["lut"]),
    (lambda y: torch.sigmoid(y) * 1.1 + 0.5, ["lut"]),
    (lambda y: y * torch.sigmoid(y), ["lut"]),
    (lambda y: y + torch.tanh(y), ["lut"]),
    (nn.functional.hardswish, ["lut"]),
    (lambda y: torch.tanh(y * torch.sigmoid(y)), ["lut"]),
    (lambda y: torch.tanh(y).square(), ["lut"]),
    (lambda y: (lambda z: z * torch.sigmoid(z))(torch.tanh(y)), ["lut", "lut"]),
    (lambda y: torch.tanh(y * y), ["mul", "lut"]),
    (lambda y: y * y * y, ["mul", "mul"]),
    (lambda y: nn.functional.leaky_relu(y, 0.1) * torch.sigmoid(y), ["leaky_relu", "lut", "mul"]),
    (lambda y: nn.functional.leaky_relu(y, 0.1), ["leaky_relu"]),
])  # fmt: skip
def test_a_function_of_one_integer_value_is_one_operation_in_xnnpack(between: Callable[[Tensor], Tensor], words: list[str]) -> None:
    found = cuts(written(Between(between), (16, 8, 8), "tflite"), "tflite")
    assert [c.operation.op for c in found] == ["conv", *words, "conv"]
    session = open_session(found[-2].data, "tflite", 1)  # the cut runs by itself, with what was merged into it
    session.invoke()
    session.close()


def test_functions_that_others_read_as_well_are_operations_of_their_own() -> None:
    found = cuts(written(Between(lambda y: y * torch.sigmoid(y), twice=True), (16, 8, 8), "tflite"), "tflite")
    assert sorted(c.operation.op for c in found) == ["add", "conv", "conv", "conv", "lut", "lut"]
    floats = cuts(written(Between(lambda y: y * torch.sigmoid(y)), (16, 8, 8), "tflite", "float"), "tflite")
    assert [c.operation.op for c in floats] == ["conv", "sigmoid", "mul", "conv"]


def test_an_operation_takes_what_its_file_does_without_the_call_and_never_less_than_a_tiny_one() -> None:
    calls = {"one": 2.5, "chain": 2.5 + 0.25 * (CHAIN - 1)}
    assert own_us(12.25, calls) == pytest.approx(10.0)
    assert own_us(2.3, calls) == own_us(1.0, calls) == pytest.approx(0.25)
    assert own_us(3.0, {"one": 2.5, "chain": 2.4}) == pytest.approx(0.5, abs=0.01)  # noise makes no time negative
    assert own_us(1.0, {"one": 2.5, "chain": 2.4}) == 0.0


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
