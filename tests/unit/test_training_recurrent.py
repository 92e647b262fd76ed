"""Recurrent layers trained on the grid: as they are stored, and back into the float network."""
from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch
from recurrent_sample import RecurrentNet, factors
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

import edgelr
from edgelr.data import Data, Split
from edgelr.devices import open_session
from edgelr.export import onnx_bytes, tflite_bytes
from edgelr.export.readback import check_readback
from edgelr.factorize import rebuild
from edgelr.graph import Graph, capture, run
from edgelr.graph.ops import Weighted
from edgelr.graph.ops.recurrent import GateMatrix, Recurrent
from edgelr.graph.recurrent import layers, trimmed
from edgelr.pipeline import candidates
from edgelr.pipeline.files import planned
from edgelr.pipeline.float_state import unplaced, with_state, with_weights
from edgelr.pipeline.precision import Form, Precision, Spelling
from edgelr.pipeline.source import inspect
from edgelr.quantization import Quantized, observe, simulate
from edgelr.training import FakeQuantized, QatSettings, Schedule, Shuffled, qat
from edgelr.training.qat import trained
from edgelr.vocabulary import Choice, Plan

SHAPE = (7, 6)


def samples(n: int = 256, seed: int = 0) -> Tensor:
    return torch.randn(n, *SHAPE, generator=torch.Generator().manual_seed(seed))


def network(kind: str, **options: object) -> RecurrentNet:
    torch.manual_seed(2)
    net = RecurrentNet(kind, "last", True, 16, **options).eval()
    with torch.no_grad():
        for name, weight in net.rnn.named_parameters():
            if "weight" in name:  # random layers hardly change what goes through
                weight.mul_(2)
    return net


def quantized(graph: Graph, spelling: Spelling = "loop", numbers: Literal["int8", "float"] = "int8",
              keep_float: tuple[str, ...] = ()) -> Quantized:
    precision = Precision({"onnx": Form(numbers, spelling)}, keep_float)
    return precision.quantized(graph, observe(graph, [samples()]), ("onnx",))["onnx"]


def low_rank(graph: Graph, per_gate: bool) -> Graph:
    """Factors in place of the matrices: another network, of the same size."""
    torch.manual_seed(3)

    def made(op: Recurrent, inputs: int) -> GateMatrix:
        return factors(op.gates, op.hidden, inputs, 4, per_gate)

    return graph.with_ops({n: replace(op, ih=made(op, op.ih.inputs), hh=made(op, op.hh.inputs)) for n, op in layers(graph).items()})


def truncated(graph: Graph) -> Graph:
    """Each matrix cut to its five largest singular values."""

    def cut(matrix: GateMatrix) -> GateMatrix:
        u, s, v = torch.linalg.svd(matrix.dense().detach(), full_matrices=False)
        return GateMatrix((u[:, :5] * s[:5],), v[:5])

    return graph.with_ops({n: replace(op, ih=cut(op.ih), hh=cut(op.hh)) for n, op in layers(graph).items()})


def noisy(graph: Graph) -> Graph:
    """Every factor with noise of a quarter of its size."""
    draw = torch.Generator().manual_seed(4)

    def moved(m: Tensor) -> Tensor:
        return m + m.std() / 4 * torch.randn(m.shape, generator=draw)

    return graph.with_ops({n: replace(op, ih=op.ih.mapped(moved), hh=op.hh.mapped(moved)) for n, op in layers(graph).items()})


def sqnr_db(wanted: Tensor, got: Tensor) -> float:
    return float(10 * torch.log10(wanted.square().mean() / (wanted - got).square().mean().clamp(min=1e-30)))


def matrices(q: Quantized) -> list[Tensor]:
    return [m for op in layers(q.graph).values() for m in (*op.ih.parts(), *op.hh.parts(), op.bias_ih, op.bias_hh)]


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
@pytest.mark.parametrize("spelling", ["fused", "linear", "loop"])
def test_the_fake_run_is_the_run_of_what_is_stored(kind: str, spelling: Spelling) -> None:
    graph = low_rank(capture(network(kind), SHAPE), per_gate=False)
    q = quantized(graph, spelling, keep_float=("head",))
    assert all(q.numbers(n) == "dynamic" for n in layers(q.graph))
    fake, x = FakeQuantized(q), samples(64, 1)
    assert all(torch.equal(a, b) for a, b in zip(matrices(trained(fake)), matrices(q), strict=True))
    with torch.no_grad():
        for p in fake.weights():
            p.add_(3 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
        after, got = trained(fake), fake(x)
        assert torch.allclose(got, simulate(after, x), atol=1e-5)
        assert not torch.allclose(got, run(after.graph, x), atol=1e-4)  # the float weights are others
        assert sqnr_db(got, simulate(q, x)) < 25  # and so was what training began with


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
@pytest.mark.parametrize("numbers", ["int8", "float"])
def test_training_takes_noise_out_of_the_factors(kind: str, numbers: Literal["int8", "float"]) -> None:
    source = truncated(trimmed(capture(network(kind), SHAPE)))
    q, x = quantized(noisy(source), "loop", numbers), samples(64, 1)
    wanted = run(source, x).detach()
    settings = QatSettings(Schedule(10), weight_rate=3.0, outputs="values")
    after = qat(q, source, Shuffled(samples().numpy(), None, 32), settings)
    assert sqnr_db(wanted, simulate(after, x)) > sqnr_db(wanted, simulate(q, x)) + 6
    assert not any(torch.equal(a, b) for a, b in zip(matrices(after), matrices(q), strict=True))


@pytest.mark.parametrize("per_gate", [False, True])
def test_gradients_reach_factors_as_those_of_the_float_product_do(per_gate: bool) -> None:
    graph = capture(network("LSTM"), SHAPE)
    q = quantized(low_rank(graph, per_gate), "fused", "float")
    fake, x = FakeQuantized(q), samples(8, 1)
    fake(x).sum().backward()
    name, op = next(iter(layers(q.graph).items()))
    leaves = op.ih.mapped(lambda m: m.detach().clone().requires_grad_())
    run(q.graph.with_ops({name: replace(op, ih=leaves)}), x).sum().backward()
    learnt = fake.learnt[name]
    for part, leaf in zip(learnt.ih, leaves.parts(), strict=True):  # type: ignore[attr-defined]
        assert leaf.grad is not None and torch.allclose(part.steps.grad, leaf.grad * part.unit, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("format", ["tflite", "onnx"])
@pytest.mark.parametrize("spelling", ["fused", "loop"])
def test_files_carry_what_was_trained(format: Literal["tflite", "onnx"], spelling: Spelling) -> None:
    source = trimmed(capture(network("LSTM"), SHAPE))
    q = quantized(low_rank(source, per_gate=False), spelling)
    after = qat(q, source, Shuffled(samples(64).numpy(), None, 32), QatSettings(Schedule(2), weight_rate=10.0))
    data = {"tflite": tflite_bytes, "onnx": onnx_bytes}[format](after)
    check_readback(after, data, format)
    session = open_session(data, format, channels_last=False, as_meant=True)
    x = samples(32, 1)
    got = torch.from_numpy(session.run(x.numpy()))
    session.close()
    assert sqnr_db(simulate(after, x), got) > sqnr_db(simulate(q, x), got) + 10


def test_a_layer_without_biases_gets_none() -> None:
    source = trimmed(capture(network("GRU", bias=False), SHAPE))
    q = quantized(source)
    after = qat(q, run_of(low_rank(source, False)), Shuffled(samples(64).numpy(), None, 32), QatSettings(Schedule(1)))
    op = next(iter(layers(after.graph).values()))
    assert not bool(op.bias_ih.any()) and not bool(op.bias_hh.any())


def run_of(graph: Graph) -> nn.Module:
    class Teacher(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return run(graph, x)

    return Teacher()


def perturbed(q: Quantized) -> Quantized:
    fake = FakeQuantized(q)
    with torch.no_grad():
        for p in fake.weights():
            p.add_(5 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    return trained(fake)


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize(("kind", "options"), [("LSTM", {"num_layers": 2, "bidirectional": True, "proj_size": 5}),
                                               ("GRU", {"num_layers": 2}), ("LSTM", {"bias": False})])
def test_a_dense_network_takes_its_trained_weights_back(kind: str, options: dict[str, object]) -> None:
    net = network(kind, **options)
    graph = trimmed(capture(net, SHAPE))
    learnt = perturbed(quantized(graph, "fused")).graph
    after = with_weights(graph, learnt)
    back, x = with_state(net, graph, after), samples(16, 1)
    wanted = run(learnt, x)
    assert torch.allclose(back(x), wanted, atol=1e-5) and not torch.allclose(net(x), wanted, atol=0.005)


@pytest.mark.parametrize("scheme", ["recurrent", "gates"])
@pytest.mark.parametrize("spelling", ["linear", "loop"])
@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
def test_a_factorised_network_takes_its_trained_factors_back(kind: str, scheme: Literal["recurrent", "gates"], spelling: Spelling) -> None:
    net = network(kind, num_layers=2)
    source = inspect("net", net, SHAPE)
    plan = Plan({f"rnn.weight_{m}": Choice(scheme, 4) for m in ("ih_l0", "hh_l0", "hh_l1")})
    made = candidates.Factors(source)
    made.prepare([w for w in source.layers if w.name in plan.choices], (scheme,), lambda: [samples(64)])
    graph, model = planned(source.graph, plan, made), rebuild(source.folded, plan, made.decompositions)
    learnt = perturbed(quantized(graph, spelling)).graph
    after = with_weights(graph, learnt)
    assert [op.form for op in layers(after).values()] == [op.form for op in layers(graph).values()]
    back, x = with_state(model, graph, after), samples(16, 1)
    wanted = run(learnt, x)
    assert torch.allclose(back(x), wanted, atol=1e-5) and not torch.allclose(model(x), wanted, atol=0.005)


@pytest.mark.parametrize(("kind", "budget"), [("LSTM", None), ("GRU", "60%params")])
def test_the_network_that_loads_is_the_trained_one(kind: str, budget: str | None, tmp_path: Path) -> None:
    net, x = network(kind), samples(96).numpy()
    y = run_of(capture(network(kind), SHAPE))(samples(96)).argmax(1).numpy()
    data = Data(train=Split(x, y), validation=Split(x[:32], y[:32]), test=Split(x[32:64], y[32:64]), calibration=Split(x[:64]))
    options = {"out": str(tmp_path / "o"), "qat": True, "epochs": 2, "allow_slower": True}
    if budget is None:
        edgelr.quantize(net, data, **options)
    else:
        edgelr.compress(net, data, budget=budget, method="uniform", **options)
    plain = load_file(tmp_path / "o" / "model.safetensors")
    moved = [n for n, p in net.named_parameters() if n in plain and not torch.equal(plain[n], p)]
    factored = [n for n in plain if n.endswith((".left", ".right"))]
    assert bool(factored) == (budget is not None) and {"rnn.bias_ih_l0", "rnn.bias_hh_l0", "head.weight"} <= set(moved)
    session = open_session((tmp_path / "o" / "model.int8.onnx").read_bytes(), "onnx", channels_last=False)
    got = torch.from_numpy(session.run(x))
    session.close()
    with torch.no_grad():
        assert sqnr_db(edgelr.load(tmp_path / "o", net)(samples(96)), got) > 25


def test_trained_attention_and_what_no_module_holds() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            mixed: Tensor = self.attention(x, x, x, need_weights=False)[0]
            return F.avg_pool1d(mixed, 2).flatten(1)

    net = Net().eval()
    graph = capture(net, (4, 8))
    weighted = [n.name for n in graph.nodes if isinstance(n.op, Weighted)]
    changed = {n.name: replace(n.op, weight=n.op.weight * 1.1) for n in graph.nodes if isinstance(n.op, Weighted)}
    after = graph.with_ops(changed)
    pool = [n for n in weighted if "attention" not in n]
    assert {"attention.in_proj", "attention.out_proj"} < set(weighted) and unplaced(net, graph, after) == tuple(pool)
    back = with_state(net, graph, after)
    assert torch.allclose(back.attention.in_proj_weight, net.attention.in_proj_weight * 1.1)  # type: ignore[union-attr, operator]
