"""Every form of a recurrent layer, in both files and both runtimes, computes what the torch network computes."""
from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import onnx
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter
from parity_tools import onnx_session
from recurrent_sample import RecurrentNet, factors

from edgelr.devices import open_session
from edgelr.devices.steps import run_steps
from edgelr.export import onnx_bytes, tflite_bytes
from edgelr.graph import Graph, capture, run
from edgelr.graph.ir import Node
from edgelr.graph.ops import recurrent_tflite
from edgelr.graph.ops.recurrent import Form, GateMatrix, Gru, Lstm, Recurrent
from edgelr.graph.recurrent import factorised, in_form, layers, linear_before, trimmed
from edgelr.graph.step import run_step, step_network
from edgelr.quantization import Quantized, simulate
from edgelr.quantization.calibrate import quantize
from edgelr.vocabulary import Kept, Numbers

FORMATS = ("tflite", "onnx")
FEATURES, HIDDEN = 12, 32
SHAPES: dict[str, dict[str, Any]] = {
    "forwards": {}, "backwards": {"reverse": True}, "last step": {"last": True}, "last step backwards": {"last": True, "reverse": True},
    "low rank": {"ranks": (4, 8)}, "low rank per gate": {"ranks": (4, 8), "per_gate": True}, "low rank recurrent": {"ranks": (0, 8)},
    "projected": {"projected": 8}, "projected backwards, low rank": {"projected": 8, "ranks": (4, 4), "reverse": True}}


def operation(kind: type[Recurrent], form: Form, ranks: tuple[int, int] = (0, 0), per_gate: bool = False, projected: int = 0,
              **fields: Any) -> Recurrent:
    """A layer with weights of torch's initial size."""
    gates = kind.gates

    def matrix(inputs: int, rank: int) -> GateMatrix:
        if rank:
            return factors(gates, HIDDEN, inputs, rank, per_gate).mapped(lambda m: m * HIDDEN**-0.25)
        return GateMatrix((torch.randn(gates * HIDDEN, inputs) * HIDDEN**-0.5 / 2,))

    bias = torch.randn(2, gates * HIDDEN) / 4
    if projected:
        fields["hr"] = torch.randn(projected, HIDDEN) * HIDDEN**-0.5
    return kind(matrix(FEATURES, ranks[0]), matrix(projected or HIDDEN, ranks[1]), bias[0], bias[1], form=form, **fields)


def kept(graph: Graph, numbers: Numbers) -> Quantized:
    """The graph with everything in float, or in dynamic int8 where there is such a form."""
    assert numbers != "int8"
    able = {n.name for n in graph.nodes if n.op.stored_dynamic() is not None}
    return quantize(graph, dict.fromkeys(graph.shapes, (0.0, 0.0)),
                    {n.name: Kept(numbers if n.name in able else "float", "choice", "a test") for n in graph.nodes})


def outputs(q: Quantized, x: torch.Tensor) -> Iterator[tuple[str, np.ndarray]]:
    """The files' outputs; a .tflite computes sample after sample, so a state that stayed from one to the next would show."""
    for format, data in (("tflite", tflite_bytes(q)), ("onnx", onnx_bytes(q))):
        if format == "onnx":
            onnx.checker.check_model(data, full_check=True)
        session = open_session(data, format, 1, channels_last=False, as_meant=True)
        yield format, session.run(x.numpy())
        session.close()


def sqnr_db(want: np.ndarray, got: np.ndarray) -> float:
    return 10 * float(np.log10(np.square(want).sum() / np.square(want - got).sum()))


@pytest.mark.parametrize("form", ["fused", "loop"])
@pytest.mark.parametrize(("kind", "shape"), [(k, s) for k in (Lstm, Gru) for s in SHAPES if k is Lstm or "projected" not in s])
def test_files_equal_torch_in_float_and_keep_their_signal_in_dynamic_int8(kind: type[Recurrent], form: Form, shape: str) -> None:
    op = operation(kind, form, **SHAPES[shape])
    graph = Graph.build("input", (12, FEATURES), [Node("rnn", op, ("input",))], "rnn")
    x = torch.randn(3, 12, FEATURES)
    want = run(graph, x).numpy()
    for _, got in outputs(kept(graph, "float"), x):
        np.testing.assert_allclose(got, want, atol=1e-4)
    dynamic = kept(graph, "dynamic")
    assert sqnr_db(want, simulate(dynamic, x).numpy()) > 30
    for _, got in outputs(dynamic, x):
        assert sqnr_db(want, got) > 30


@pytest.mark.parametrize(("time", "turn"), [(1, 1), (7, 1), (10, 5), (12, 4)])
@pytest.mark.parametrize("reverse", [False, True])
def test_a_loop_of_several_steps_a_turn_runs_every_step_once(time: int, turn: int, reverse: bool) -> None:
    assert max(n for n in range(1, recurrent_tflite.STEPS + 1) if time % n == 0) == turn
    graph = Graph.build("input", (time, FEATURES), [Node("rnn", operation(Gru, "loop", reverse=reverse), ("input",))], "rnn")
    x = torch.randn(2, time, FEATURES)
    for _, got in outputs(kept(graph, "float"), x):
        np.testing.assert_allclose(got, run(graph, x).numpy(), atol=1e-4)


def test_matrices_too_large_for_a_cache_have_one_step_a_turn_and_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recurrent_tflite, "CACHED", 1000)
    graph = Graph.build("input", (12, FEATURES), [Node("rnn", operation(Lstm, "loop"), ("input",))], "rnn")
    x = torch.randn(2, 12, FEATURES)
    for _, got in outputs(kept(graph, "float"), x):
        np.testing.assert_allclose(got, run(graph, x).numpy(), atol=1e-4)


NETS: dict[str, dict[str, Any]] = {"plain": {}, "stacked": {"num_layers": 2}, "both ways": {"bidirectional": True, "num_layers": 2}}


@pytest.mark.parametrize("form", ["fused", "loop"])
@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_whole_networks_equal_torch(kind: str, net: str, form: Form) -> None:
    model = RecurrentNet(kind, "last", True, hidden=16, **NETS[net]).eval()
    graph = in_form(trimmed(capture(model, (7, 6))), form)
    x = torch.randn(3, 7, 6)
    with torch.no_grad():
        want = model(x).numpy()
    for _, got in outputs(kept(graph, "float"), x):
        np.testing.assert_allclose(got, want, atol=1e-4)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_a_linear_layer_before_a_fused_one_equals_the_product(kind: str) -> None:
    graph = capture(RecurrentNet(kind, "last", True, hidden=16).eval(), (7, 6))
    graph = factorised(graph, {"rnn": (factors(4 if kind == "LSTM" else 3, 16, 6, 3, False), None)})
    x = torch.randn(3, 7, 6)
    with torch.no_grad():
        want = run(graph, x).numpy()
    for _, got in outputs(kept(linear_before(graph), "float"), x):
        np.testing.assert_allclose(got, want, atol=1e-4)


@pytest.mark.parametrize("low_rank", [False, True])
@pytest.mark.parametrize("numbers", ["float", "dynamic"])
@pytest.mark.parametrize(("kind", "options"), [("LSTM", {}), ("LSTM", {"num_layers": 2, "proj_size": 8}), ("GRU", {"num_layers": 2})])
@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_a_state_carried_from_step_to_step_equals_one_long_call(
        kind: str, options: dict[str, Any], numbers: Numbers, low_rank: bool) -> None:
    model = RecurrentNet(kind, "last", True, hidden=16, **options).eval()
    graph = capture(model, (7, 6))
    if low_rank:
        changed = {n: factors(op.gates, 16, op.hh.inputs, 3, True).mapped(lambda m: m / 2) for n, op in layers(graph).items()}
        graph = factorised(graph, {n: (None, hh) for n, hh in changed.items()})
    x = torch.randn(3, 7, 6)
    with torch.no_grad():
        want = run(graph, x).numpy()
        step = step_network(graph)
        states = None
        for t in range(7):
            y, states = run_step(step, x[:, t : t + 1], states)
    np.testing.assert_allclose(y.numpy(), want, atol=1e-5)
    q = kept(step, numbers)
    files: dict[Literal["tflite", "onnx"], bytes] = {"tflite": tflite_bytes(q), "onnx": onnx_bytes(q)}
    names = [s.before for s in step.states]
    opened = onnx_session(files["onnx"])
    assert [i.name for i in opened.get_inputs()] == ["input", *names]
    assert [o.name for o in opened.get_outputs()] == ["output", *(f"{name}/next" for name in names)]
    assert [d["name"] for d in Interpreter(model_content=files["tflite"]).get_input_details()[1:]] == names
    for format, data in files.items():
        got = run_steps(data, format, x.numpy())
        if numbers == "float":
            np.testing.assert_allclose(got, want, atol=1e-4)
        else:
            assert sqnr_db(want, got) > 25  # the head's few values; 30 dB and more inside
