"""Recurrent operations mean what torch's modules mean, dense and factorised; real networks are captured; what has no form is refused."""
from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from recurrent_sample import RecurrentNet, factors
from torch import Tensor, nn

from edgelr.errors import UnsupportedError
from edgelr.graph import Graph, Node, capture, run
from edgelr.graph.ops import Slice
from edgelr.graph.ops.recurrent import GateMatrix, Gru, Lstm, rounded
from edgelr.graph.recurrent import factorised, in_form, layers, linear_before, trimmed

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {}, "stacked": {"num_layers": 3}, "no bias": {"bias": False}, "both ways": {"bidirectional": True, "num_layers": 2},
    "projected": {"proj_size": 4, "num_layers": 2, "bidirectional": True}}


def close(got: Tensor, want: Tensor) -> bool:
    return got.shape == want.shape and torch.allclose(got, want, atol=1e-5)


@pytest.mark.filterwarnings("ignore:LSTM with projections")  # torch's own, from its module
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("read", ["sequence", "last", "final state"])
@pytest.mark.parametrize(("kind", "variant"), [(k, v) for k in ("LSTM", "GRU") for v in VARIANTS if (k, v) != ("GRU", "projected")])
def test_a_captured_network_equals_torch(kind: str, variant: str, read: str, batch_first: bool) -> None:
    options = VARIANTS[variant]
    model = RecurrentNet(kind, read, batch_first, **options).eval()
    x = torch.randn(3, 7, 6)
    with torch.no_grad():
        graph = capture(model, (7, 6))
        assert close(run(graph, x), model(x))
        assert close(run(trimmed(graph), x), model(x))


def test_only_the_last_step_is_kept_where_nothing_else_is_read() -> None:
    for read in ("last", "final state"):
        kept = layers(trimmed(capture(RecurrentNet("GRU", read, True, num_layers=2).eval(), (7, 6))))
        assert [op.last for op in kept.values()] == [False, True]
    assert not any(op.last for op in layers(trimmed(capture(RecurrentNet("GRU", "sequence", True).eval(), (7, 6)))).values())


def test_the_last_step_of_a_run_backwards_is_the_first_of_the_sequence() -> None:
    both = trimmed(capture(RecurrentNet("LSTM", "final state", True, bidirectional=True).eval(), (7, 6)))
    assert [op.last for op in layers(both).values()] == [True, True]
    op = replace(layers(both)["rnn.l0_reverse"], last=False)
    x = torch.randn(2, 7, 6)
    for place, kept in ((0, True), (6, False)):
        graph = Graph.build("input", (7, 6), [Node("rnn", op, ("input",)), Node("part", Slice(0, place, place + 1), ("rnn",))], "part")
        assert layers(trimmed(graph))["rnn"].last is kept
        assert close(run(trimmed(graph), x), run(graph, x))


@pytest.mark.parametrize("per_gate", [False, True])
@pytest.mark.parametrize("kind", [Lstm, Gru])
def test_factors_mean_their_product(kind: type[Lstm | Gru], per_gate: bool) -> None:
    gates, n = kind.gates, 8
    ih, hh = factors(gates, n, 6, 2, per_gate), factors(gates, n, n, 3, per_gate)
    bias = torch.randn(2, gates * n)
    op = kind(ih, hh, bias[0], bias[1])
    module = (nn.LSTM if kind is Lstm else nn.GRU)(6, n, batch_first=True)
    with torch.no_grad():
        for name, value in (("weight_ih_l0", _product(ih, gates)), ("weight_hh_l0", _product(hh, gates)), ("bias_ih_l0", bias[0]),
                            ("bias_hh_l0", bias[1])):
            getattr(module, name).copy_(value)
        x = torch.randn(2, 5, 6)
        assert close(op.run(x), module(x)[0])


def _product(matrix: GateMatrix, gates: int) -> Tensor:
    """The stacked gate matrices, written out gate by gate."""
    assert matrix.right is not None
    if len(matrix.left) == 1:
        return matrix.left[0] @ matrix.right
    rank = matrix.right.shape[0] // gates
    return torch.cat([left @ matrix.right[g * rank : (g + 1) * rank] for g, left in enumerate(matrix.left)])


def test_reordering_gates_reorders_the_product() -> None:
    for per_gate in (False, True):
        matrix = factors(4, 8, 6, 2, per_gate)
        want = torch.cat([matrix.dense().chunk(4)[g] for g in (0, 3, 1, 2)])
        assert torch.allclose(matrix.reordered((0, 3, 1, 2)).dense(), want)


def test_a_low_rank_input_matrix_becomes_a_layer_before() -> None:
    graph = capture(RecurrentNet("LSTM", "last", True).eval(), (7, 6))
    graph = factorised(graph, {"rnn": (factors(4, 8, 6, 2, False), None)})
    before = linear_before(graph)
    assert before.shapes["rnn/features"] == (7, 2)
    x = torch.randn(2, 7, 6)
    with torch.no_grad():
        assert close(run(before, x), run(graph, x))


def test_dynamic_weights_are_rounded_as_the_form_stores_them() -> None:
    """Fused weights have 7 bits, since ONNX Runtime's kernel adds two products in 16 bits on x86 without VNNI."""
    op = layers(capture(RecurrentNet("LSTM", "last", True).eval(), (7, 6)))["rnn"]
    for form, most in (("fused", 63), ("loop", 127)):
        stored = replace(op, form=form).stored_dynamic().hh.dense()
        assert torch.equal(stored, rounded(op.hh.dense(), most))
        steps = stored / (op.hh.dense().abs().amax(1, keepdim=True) / most)
        assert torch.allclose(steps, steps.round(), atol=1e-3)
    assert in_form(capture(RecurrentNet("LSTM", "last", True).eval(), (7, 6)), "loop").node("rnn").op.form == "loop"  # type: ignore[attr-defined]


class Given(nn.Module):
    """An LSTM or another recurrent layer used in a way of its own."""

    def __init__(self, use: str) -> None:
        super().__init__()
        self.rnn: nn.Module = nn.RNN(6, 8, batch_first=True) if use == "rnn" else nn.LSTM(6, 8, batch_first=use != "time first")
        self.use, self.first = use, nn.Linear(6, 8)

    def forward(self, x: Tensor) -> Tensor:
        state = None
        if self.use == "constant state":
            state = (torch.ones(1, 2, 8), torch.zeros(1, 2, 8))
        if self.use == "computed state":
            start = self.first(x[:, 0])[None]
            state = (start, start)
        if self.use == "packed":
            packed = nn.utils.rnn.pack_padded_sequence(x, torch.tensor([7, 7]), batch_first=True)
            y, _ = nn.utils.rnn.pad_packed_sequence(self.rnn(packed)[0], batch_first=True)
            return y
        y, final = self.rnn(x, state)
        return final[1][-1] if self.use == "cell state" else y


@pytest.mark.parametrize(("use", "told"), [
    ("cell state", "c_n"), ("constant state", "not zeros"), ("computed state", "depends on the input|samples on different axes"),
    ("time first", "batch_first"), ("rnn", "nn.LSTM and nn.GRU"), ("packed", "can't be captured")])
def test_what_has_no_form_is_refused_by_name(use: str, told: str) -> None:
    with pytest.raises(UnsupportedError, match=told) as error:
        capture(Given(use).eval(), (7, 6))
    assert use in ("packed", "cell state") or "rnn" in error.value.what  # packing fails in torch.export itself
