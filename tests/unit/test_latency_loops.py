"""Loops of recurrent layers in written files: one operation with all that turns in it, told by turns, products and what a turn takes."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from cut_sample import cuts, of_graph, written
from onnx import TensorProto, helper
from recurrent_sample import factors
from torch import Tensor, nn

from edgelr.devices.harness.runtimes import LiteRT, Ort
from edgelr.errors import UnsupportedError
from edgelr.graph import Graph, Node
from edgelr.graph.ops.gates import LOOP_ORDER, GateMatrix
from edgelr.graph.ops.recurrent import Gru, Lstm, Recurrent
from edgelr.latency.cut import Cut, cut_operators
from edgelr.latency.families import family_of, place_of, work_of
from edgelr.latency.file_price import file_price
from edgelr.latency.loops import Turns, layer_of
from edgelr.latency.operation import Operation
from edgelr.latency.operation_bytes import weight_bytes
from edgelr.latency.pricer import Pricer
from edgelr.latency.prices import layer_us
from edgelr.latency.samples import sample
from edgelr.latency.table import Head, Row, Table
from edgelr.latency.wanted import at_lower_rank
from edgelr.vocabulary import Format

FEATURES = 10
HEAD = Head("here", "litert", "1", "core", 1, "measured", "here", "2026-01-01", 0.1, "a test", call_us=7.0)
KINDS: dict[str, type[Recurrent]] = {"LSTM": Lstm, "GRU": Gru}


class Sequence(nn.Module):
    def __init__(self, kind: type[nn.LSTM] | type[nn.GRU], state: int = 16, every: bool = True) -> None:
        super().__init__()
        self.rnn, self.head, self.every = kind(FEATURES, state, batch_first=True), nn.Linear(state, 4), every

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.rnn(x)[0]
        result: Tensor = self.head(y if self.every else y[:, -1])
        return result


def loop_of(data: bytes, format: Format) -> Cut:
    (loop,) = [c for c in cuts(data, format) if c.operation.op == "loop"]
    return loop


def layer(kind: str, state: int, hh: GateMatrix | None = None, hr: int = 0, **options: Any) -> Recurrent:
    torch.manual_seed(0)
    width, outputs = KINDS[kind].gates * state, hr or state
    ih, dense = GateMatrix((torch.randn(width, FEATURES) / 4,)), GateMatrix((torch.randn(width, outputs) / 4,))
    projection = {"hr": torch.randn(hr, state) / 4} if hr else {}
    return KINDS[kind](ih, hh or dense, torch.randn(width), torch.randn(width), form="loop", **options, **projection)


def file_of(op: Recurrent, steps: int, format: Format, numbers: str = "float") -> bytes:
    return of_graph(Graph.build("x", (steps, FEATURES), [Node("rnn", op, ("x",))], "rnn"), format, numbers)


@pytest.mark.parametrize("format", ["tflite", "onnx"])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize("numbers", ["float", "dynamic", "int8"])
def test_a_loop_is_one_operation_of_its_layer(format: Format, kind: type[nn.LSTM] | type[nn.GRU], numbers: str) -> None:
    found = cuts(written(Sequence(kind), (20, FEATURES), format, numbers, "loop"), format)
    (loop,) = [c.operation for c in found if c.operation.op == "loop"]
    gates = 4 if kind is nn.LSTM else 3
    assert loop.detail == {"tflite": f"turns4of5x16x{gates * 16}", "onnx": f"turns20of1x16x{gates * 16}"}[format]
    assert loop.numbers == ("dynamic" if numbers == "dynamic" else "float")
    assert numbers == "int8" or {c.name.partition("/")[0] for c in found} <= {"rnn", "head"}
    inside = {"split", "sigmoid", "tanh", "mul", "dynamic_update_slice", "identity"}
    assert not inside & {c.operation.op for c in found}  # they are the loop's


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("steps", "per_gate"), [(7, None), (20, False), (20, True)])
def test_a_loops_own_file_computes_the_layer(kind: str, reverse: bool, steps: int, per_gate: bool | None) -> None:
    """From the input's part of the gates: what torch says."""
    hh = None if per_gate is None else factors(KINDS[kind].gates, 16, 16, 3, per_gate)
    op = layer(kind, 16, hh, reverse=reverse)
    x = torch.randn(1, steps, FEATURES)
    order = LOOP_ORDER[kind]
    biases = op.bias_ih + op.bias_hh if kind == "LSTM" else op.bias_ih
    gates = (x[0] @ op.ih.reordered(order).dense().T + torch.cat([biases.chunk(op.gates)[g] for g in order])).numpy()
    wanted = op.run(x)[0].numpy()
    states = [np.zeros((1, 16), np.float32)]  # of all states: ONNX Runtime makes them one
    tflite = loop_of(file_of(op, steps, "tflite"), "tflite").data
    _, same, every, *_ = LiteRT(tflite, 1).run([gates, np.zeros_like(wanted)])
    np.testing.assert_array_equal(same, gates)
    np.testing.assert_allclose(every, wanted, atol=1e-5)
    *_, outputs = Ort(loop_of(file_of(op, steps, "onnx"), "onnx").data, 1).run([*states, gates[:, None]])
    np.testing.assert_allclose(outputs[:, 0], wanted, atol=1e-5)


def test_loops_that_take_another_time_have_another_key() -> None:
    def key(op: Recurrent, steps: int, format: Format, numbers: str = "float") -> str:
        return str(loop_of(file_of(op, steps, format, numbers), format).operation)

    shapes = "20x64,20x16,1x16,1x16 1 1x1 1x1 1 none"
    assert key(layer("LSTM", 16), 20, "tflite") == f"loop float {shapes} turns4of5x16x64"
    assert key(layer("LSTM", 16), 20, "tflite", "dynamic") == f"loop dynamic {shapes} turns4of5x16x64"
    assert key(layer("LSTM", 16, last=True), 20, "tflite") == "loop float 20x64,1x16,1x16 1 1x1 1x1 1 none turns4of5x16x64"
    assert key(layer("GRU", 16), 7, "tflite") == "loop float 7x48,7x16,1x16 1 1x1 1x1 1 none turns7of1x16x48"
    assert key(layer("LSTM", 16, factors(4, 16, 16, 3, False)), 20, "tflite").endswith(" turns4of5x16x3+5x3x64")
    assert key(layer("LSTM", 16, factors(4, 16, 16, 3, True)), 20, "tflite").endswith(" turns4of5x16x12+20x3x16")
    assert key(layer("LSTM", 16, hr=8), 20, "tflite") == "loop float 20x64,20x8,1x8,1x16 1 1x1 1x1 1 none turns4of5x8x64+5x16x8"
    assert key(layer("LSTM", 400), 8, "tflite").endswith(" turns8of1x400x1600")  # one step a turn, for its matrices are large
    assert key(layer("LSTM", 400), 8, "tflite", "dynamic").endswith(" turns2of4x400x1600")
    assert key(layer("LSTM", 16), 20, "onnx") == "loop float 1x16,1x16,1x64 1x16 1x1 1x1 1 none turns20of1x16x64"
    assert key(layer("GRU", 16), 20, "onnx", "dynamic") == "loop dynamic 1x16,1x48 1x16 1x1 1x1 1 none turns20of1x16x48"
    assert key(layer("LSTM", 16, factors(4, 16, 16, 3, True)), 20, "onnx").endswith(" turns20of1x16x12+4x3x16")


@pytest.mark.parametrize("format", ["tflite", "onnx"])
@pytest.mark.parametrize("numbers", ["float", "dynamic"])
@pytest.mark.parametrize("build", [
    lambda: layer("LSTM", 16), lambda: layer("GRU", 16, last=True), lambda: layer("LSTM", 16, factors(4, 16, 16, 3, True)),
    lambda: layer("GRU", 16, factors(3, 16, 16, 3, False)), lambda: layer("LSTM", 16, hr=8),
    lambda: layer("LSTM", 16, factors(4, 16, 8, 3, True), hr=8),
])  # fmt: skip
def test_a_loop_can_be_made_from_its_key_alone(format: Format, numbers: str, build: Callable[[], Recurrent]) -> None:
    operation = loop_of(file_of(build(), 20, format, numbers), format).operation
    assert layer_of(operation).operation() == operation
    assert [c.operation for c in cut_operators(sample(operation, format), format)] == [operation]


@pytest.mark.parametrize("format", ["tflite", "onnx"])
@pytest.mark.parametrize(("kind", "state", "last"), [("LSTM", 32, False), ("GRU", 32, True), ("LSTM", 512, False)])
def test_its_lower_ranks_are_what_the_writer_writes(format: Format, kind: str, state: int, last: bool) -> None:
    """512 in float takes one step a turn when it is dense, and four when its factors are small."""
    dense = loop_of(file_of(layer(kind, state, last=last), 8, format), format).operation
    lower = list(at_lower_rank(dense, 8))
    ranks = sorted(p[0][1] for p in (layer_of(o).products for o in lower))
    assert ranks[-1] == 3 * state // 4
    for rank in (ranks[0], ranks[-1]):
        hh = factors(KINDS[kind].gates, state, state, rank, False)
        assert loop_of(file_of(layer(kind, state, hh, last=last), 8, format), format).operation in lower
    assert not list(at_lower_rank(lower[0], 8))  # of what is factorised already


@pytest.mark.parametrize("text", ["turns16", "turns16of1x128x512", "turns4of4x128x32+16x8x128"])
def test_turns_are_told_as_they_were_written(text: str) -> None:
    assert str(Turns.told(text)) == text


def test_what_tells_no_turns_is_one_turn_of_nothing() -> None:
    for text in ("-", "turns", "turnsx", "turns4of", "turns4of1x2", "turns4of1x2x3+", "turns9999999999of1x1x1", "turns4of1x2x3x4"):
        assert Turns.told(text) == Turns(1)


def test_a_loops_place_is_its_steps_what_it_hands_on_its_state_and_a_steps_products() -> None:
    o = Operation.parse("loop float 20x64,20x16,1x16,1x16 1 1x1 1x1 1 none turns4of5x16x4+5x4x64")
    assert place_of(o) == (20, 4 * (20 * 64 + 20 * 16 + 32), 16, 16 * 4 + 4 * 64)
    assert str(family_of(o)) == "loop gates4of2 float" and work_of(o) == 20 * 320
    assert weight_bytes(o) == 5 * 320 * 4  # each step of a turn has its own pack of them
    assert str(family_of(Operation.parse("loop dynamic 1x16,1x48 1x16 1x1 1x1 1 none turns7of1x16x48"))) == "loop gates3of1 dynamic"


def test_prices_add_up_and_a_loops_row_counts_once() -> None:
    data = written(Sequence(nn.GRU), (20, FEATURES), "tflite", "float", "loop")
    found = cuts(data, "tflite")
    table = Table(HEAD, {c.operation: Row(c.operation, 100.0 if c.operation.op == "loop" else 2.0) for c in found})
    price = file_price(data, "tflite", Pricer(table))
    assert set(price.basis.values()) == {"row"}
    counted = [c for c in found if c.operation.detail != "index" and c.operation.op != "fill"]
    assert price.times.whole_us == pytest.approx(price.times.sum_us) == pytest.approx(7.0 + 100.0 + 2.0 * (len(counted) - 1))
    assert layer_us(price.times, "rnn") + layer_us(price.times, "head") == pytest.approx(price.times.whole_us - 7.0)


def test_a_loop_in_a_loop_is_refused() -> None:
    def values(*names: str, rank: int = 1) -> list[Any]:
        return [helper.make_tensor_value_info(n, TensorProto.FLOAT, [2] * rank) for n in names]

    inner = helper.make_graph([helper.make_node("Add", ["c", "d"], ["e"]), helper.make_node("Identity", ["e"], ["f"])], "inner",
                              values("c", "d"), values("e", "f"))  # fmt: skip
    scan = helper.make_node("Scan", ["a", "whole"], ["g", "h"], body=inner, num_scan_inputs=1)
    twice = [scan, helper.make_node("Add", ["g", "b"], ["i"]), helper.make_node("Identity", ["i"], ["j"])]
    outer = helper.make_graph(twice, "outer", values("a", "b"), values("i", "j"))
    graph = helper.make_graph([helper.make_node("Scan", ["x", "whole"], ["y", "z"], body=outer, num_scan_inputs=1)], "net",
                              [*values("x"), *values("whole", rank=2)], [*values("y"), *values("z", rank=2)])  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    with pytest.raises(UnsupportedError, match="operator"):
        list(cut_operators(model.SerializeToString(), "onnx"))
