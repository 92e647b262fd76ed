"""Quantisation-aware fine-tuning: what is trained is what is written, and training wins back what the grid cost."""
from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from edgelr.devices import open_session
from edgelr.errors import EdgelrError
from edgelr.export import onnx_bytes, tflite_bytes
from edgelr.export.readback import check_readback
from edgelr.graph import capture, run
from edgelr.graph.arithmetic import BIAS_MAX
from edgelr.graph.ops import RELU6, Conv, Pad
from edgelr.quantization import Quantized, calibrate, simulate
from edgelr.training import FakeQuantized, Progress, QatSettings, Schedule, Shuffled, qat
from edgelr.training.qat import trained
from edgelr.vocabulary import Grid, Kept

SHAPE = (3, 12, 12)


class Net(nn.Module):
    """A residual add, depthwise, ReLU6, pooling, a mixed concatenation, a mean and a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.deep = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.point = nn.Conv2d(8, 8, 1)
        self.side = nn.Conv2d(8, 4, 1)
        self.last = nn.Conv2d(12, 16, 3, padding=1)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x).relu()
        y = (self.point(nn.functional.relu6(self.deep(y) * 3)) + y).relu()
        y = nn.functional.max_pool2d(torch.cat([y, self.side(y)], 1), 2)
        return self.head(self.last(y).relu().mean((2, 3)))


@cache
def samples() -> Tensor:
    """Smooth blobs, so that a random net's classes differ clearly."""
    generator = torch.Generator().manual_seed(1)
    return nn.functional.interpolate(torch.randn(512, 3, 3, 3, generator=generator), SHAPE[1:], mode="bilinear") * 2


@cache
def dense() -> nn.Module:
    torch.manual_seed(0)
    net = Net()
    with torch.no_grad():  # scores spread about their mean, as a trained net's do
        net.head.weight *= 10
        net.head.bias -= net(samples()).mean(0)
    return net.eval()


@cache
def calibrated() -> Quantized:
    return calibrate(capture(dense(), SHAPE), samples()[:256].split(64))


@cache
def tuned() -> Quantized:
    """Hurt first, so that there is something to train: ranges that are far too wide for some values."""
    return qat(hurt(), run_dense, Shuffled(samples()[:384].numpy(), None, 32), QatSettings(Schedule(6), weight_rate=1.0, scale_rate=0.05))


@cache
def hurt() -> Quantized:
    from edgelr.quantization import observe, quantize

    graph = capture(dense(), SHAPE)
    ranges = observe(graph, samples()[:256].split(64))
    makers = {n.name: n.op for n in graph.nodes}
    wide = {v: (a, b) if v in makers and makers[v].clamp == RELU6 else (4 * a, 4 * b) for v, (a, b) in ranges.items()}
    return quantize(graph, wide)


def run_dense(x: Tensor) -> Tensor:
    with torch.no_grad():
        return dense()(x)


def sqnr_db(wanted: Tensor, got: Tensor) -> float:
    return float(10 * torch.log10(wanted.square().mean() / (wanted - got).square().mean().clamp(min=1e-30)))


@pytest.mark.parametrize("q", [calibrated, hurt])
def test_nothing_learnt_is_the_calibrated_net_bit_for_bit(q: object) -> None:
    before = q()  # type: ignore[operator]
    after = trained(FakeQuantized(before))
    assert after.grids == before.grids
    for name, ours in before.weights.items():
        for field in ("weight", "scale", "bias"):
            assert torch.equal(getattr(after.weights[name], field), getattr(ours, field)), name


def test_the_integer_run_is_the_fake_quantised_run() -> None:
    noise = torch.randn(1024, 3, 3, 3, generator=torch.Generator().manual_seed(9))
    q, x = tuned(), nn.functional.interpolate(noise, SHAPE[1:], mode="bilinear") * 2
    with torch.no_grad():
        fake = FakeQuantized(q)(x)
    real = simulate(q, x)
    assert float((fake.argmax(1) == real.argmax(1)).float().mean()) >= 0.99
    assert sqnr_db(fake, real) > 35


def test_the_fake_run_of_the_result_is_that_of_the_end_of_training() -> None:
    fake = FakeQuantized(hurt())
    with torch.no_grad():
        for p in (*fake.weights(), *fake.scales()):
            p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(3)) * (2 if p.dim() > 1 else 0.05))
    fake.keep_bounds()
    q, x = trained(fake), samples()[:128]
    with torch.no_grad():
        wanted = fake(x)
    got = simulate(q, x)
    assert sqnr_db(wanted, got) > 25
    assert sqnr_db(wanted, simulate(hurt(), x)) < 20  # the test would see it if what was learnt got lost


def test_training_wins_back_what_the_grid_cost() -> None:
    x = samples()[384:]
    wanted = run_dense(x)
    before, after = (sqnr_db(wanted, simulate(q, x)) for q in (hurt(), tuned()))
    assert after > before + 6
    assert hurt().grids[hurt().graph.output].scale > 1.5 * tuned().grids[tuned().graph.output].scale


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_both_files_carry_what_was_trained(format: Literal["tflite", "onnx"]) -> None:
    q = tuned()
    data = {"tflite": tflite_bytes, "onnx": onnx_bytes}[format](q)
    check_readback(q, data, format)
    moved = [n for n in q.weights if not torch.equal(q.weights[n].weight, hurt().weights[n].weight)]
    assert len(moved) == len(q.weights)
    with pytest.raises(EdgelrError):
        check_readback(hurt(), data, format)


def test_the_onnx_runtime_gives_the_integer_run_bit_for_bit() -> None:
    q, x = tuned(), samples()[384:416]
    got = torch.from_numpy(open_session(onnx_bytes(q), "onnx", as_meant=True).run(x.numpy()))
    assert torch.equal(got, simulate(q, x))


def test_the_same_seed_gives_the_same_bits() -> None:
    batches = Shuffled(samples()[:128].numpy(), None, 32, seed=5)
    first, second = (qat(hurt(), run_dense, batches, QatSettings(Schedule(1))) for _ in range(2))
    assert first.grids == second.grids
    assert all(torch.equal(first.weights[n].weight, second.weights[n].weight) for n in first.weights)
    assert onnx_bytes(first) == onnx_bytes(second)


def test_what_was_given_stays_as_it_is() -> None:
    before = {n: w.weight.clone() for n, w in calibrated().weights.items()}
    grids, floats = dict(calibrated().grids), calibrated().graph.node("stem").op
    assert isinstance(floats, Conv)
    weight = floats.weight.clone()
    qat(calibrated(), run_dense, Shuffled(samples()[:64].numpy(), None, 32), QatSettings(Schedule(1)))
    assert dict(calibrated().grids) == grids and torch.equal(floats.weight, weight)
    assert all(torch.equal(calibrated().weights[n].weight, w) for n, w in before.items())


def test_tied_values_share_one_scale_and_the_graph_s_weights_are_the_trained_ones() -> None:
    q = tuned()
    pool = next(n for n in q.graph.nodes if type(n.op).__name__ == "MaxPool")
    assert q.grids[pool.name] == q.grids[pool.inputs[0]]
    op = q.graph.node("last").op
    assert isinstance(op, Conv)
    ours = q.weights["last"]
    near = (op.weight / ours.scale.view(-1, 1, 1, 1)).round().clamp(-127, 127)
    assert torch.equal(near.to(torch.int8), ours.weight)
    assert not op.weight.requires_grad


def test_a_grid_never_grows_beyond_its_operation_s_bound() -> None:
    fake = FakeQuantized(calibrated())
    bounded = next(n for n in fake.q.graph.nodes if n.op.clamp == RELU6)
    assert fake.q.grids[bounded.name].high == pytest.approx(6)
    with torch.no_grad():
        for growth in fake.growths.values():
            growth.fill_(1.0)
    fake.keep_bounds()
    after = trained(fake)
    assert after.grids[bounded.name].high <= 6 * (1 + 1e-6)
    assert after.grids["input"].scale > 2 * calibrated().grids["input"].scale


def test_fixed_grids_and_those_that_hold_a_constant_are_not_learnt() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ConstantPad2d(1, 5.0), nn.Conv2d(4, 4, 1), nn.Sigmoid(), nn.Conv2d(4, 2, 1))
    q = calibrate(capture(net, SHAPE), [samples()[:32]])
    fake = FakeQuantized(q)
    pad, sigmoid = (next(n for n in q.graph.nodes if type(n.op).__name__ == kind) for kind in ("Pad", "Sigmoid"))
    assert isinstance(pad.op, Pad)
    assert not {fake.groups[pad.name], fake.groups[sigmoid.name]} & set(fake.growths)
    after = qat(q, lambda x: net(x), Shuffled(samples()[:64].numpy(), None, 32), QatSettings(Schedule(1)))
    for node in (pad, sigmoid):
        assert after.grids[node.name] == q.grids[node.name]
    assert after.grids[q.graph.output] != q.grids[q.graph.output]


def test_what_stays_in_float_is_trained_in_float() -> None:
    q = calibrate(capture(dense(), SHAPE), [samples()[:128]], kept={"head": Kept("float", "choice", "asked")})
    after = qat(q, run_dense, Shuffled(samples()[:128].numpy(), None, 32), QatSettings(Schedule(1)))
    head = after.graph.node("head").op
    assert "head" not in after.weights and q.graph.output not in after.grids
    assert not torch.equal(head.weight, q.graph.node("head").op.weight)  # type: ignore[attr-defined]
    with torch.no_grad():
        assert sqnr_db(FakeQuantized(after)(samples()[:64]), simulate(after, samples()[:64])) > 40


def test_weights_that_are_quantised_as_they_run_are_trained_as_they_are_stored() -> None:
    q = calibrate(capture(dense(), SHAPE), [samples()[:128]], kept={"head": Kept("dynamic", "choice", "asked")})
    after = qat(q, run_dense, Shuffled(samples()[:128].numpy(), None, 32), QatSettings(Schedule(1), weight_rate=10.0))
    assert not torch.equal(after.weights["head"].weight, q.weights["head"].weight)
    for format, data in (("tflite", tflite_bytes(after)), ("onnx", onnx_bytes(after))):
        check_readback(after, data, format)  # type: ignore[arg-type]
    with torch.no_grad():
        assert sqnr_db(FakeQuantized(after)(samples()[:64]), simulate(after, samples()[:64])) > 40


def test_seven_bit_weights_stay_seven_bits() -> None:
    from edgelr.quantization import observe, quantize

    graph = capture(dense(), SHAPE)
    q = quantize(graph, observe(graph, [samples()[:128]]), weight_max=63)
    after = qat(q, run_dense, Shuffled(samples()[:128].numpy(), None, 32), QatSettings(Schedule(1)))
    assert max(int(w.weight.abs().max()) for w in after.weights.values()) == 63


def test_dynamic_weights_of_seven_bits_are_trained_in_seven_bits() -> None:
    from edgelr.quantization import observe, quantize

    graph = capture(dense(), SHAPE)
    q = quantize(graph, observe(graph, [samples()[:64]]), {"head": Kept("dynamic", "choice", "asked")}, weight_max=63)
    stored, running = q.weights["head"], FakeQuantized(q).learnt["head"].running()
    assert int(stored.weight.abs().max()) == 63
    assert torch.allclose(running.weight, stored.weight.float() * stored.scale[:, None], atol=1e-6)  # type: ignore[attr-defined]


def test_a_bias_that_is_not_there_stays_away() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.Conv2d(4, 2, 1))
    q = calibrate(capture(net, SHAPE), [samples()[:32]])
    after = qat(q, lambda x: 2 * net(x), Shuffled(samples()[:64].numpy(), None, 32), QatSettings(Schedule(1)))
    first, second = (n.op for n in after.graph.nodes)
    assert not bool(first.bias.any()) and not torch.equal(second.bias, net[1].bias)  # type: ignore[attr-defined]


def test_a_large_bias_still_widens_its_channel_s_scale_instead_of_overflowing() -> None:
    fake = FakeQuantized(calibrated())
    with torch.no_grad():
        fake.on_grid()["last"].growth.fill_(-25.0)
        fake.on_grid()["last"].bias.steps.fill_(200.0)
    after = trained(fake)
    ours, scale_in = after.weights["last"], after.grids[after.graph.node("last").inputs[0]].scale
    assert int(ours.bias.abs().max()) <= BIAS_MAX
    bias = after.graph.node("last").op.bias  # type: ignore[attr-defined]
    assert torch.allclose(ours.bias.double() * ours.scale.double() * scale_in, bias.double(), rtol=1e-3)


def test_a_scale_that_training_lost_is_brought_back_to_what_runtimes_load() -> None:
    fake = FakeQuantized(calibrated())
    with torch.no_grad():
        fake.growths[fake.groups["stem"]].fill_(-20.0)
    after = trained(fake)
    unit = after.grids["input"].scale * float(after.weights["stem"].scale.max())
    assert after.grids["stem"].scale >= unit / 128 * (1 - 1e-6)
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=tflite_bytes(after))
    interpreter.allocate_tensors()


def test_a_loss_that_is_not_finite_ends_training_with_an_error() -> None:
    broken = samples()[:64].clone()
    broken[40] = float("nan")
    with pytest.raises(EdgelrError, match="diverged"):
        qat(calibrated(), run_dense, Shuffled(broken.numpy(), None, 32), QatSettings(Schedule(1)))


def test_progress_is_told_each_epoch() -> None:
    heard: list[Progress] = []
    qat(calibrated(), run_dense, Shuffled(samples()[:64].numpy(), None, 32), QatSettings(Schedule(3)), heard.append)
    assert [p.epoch for p in heard] == [1, 2, 3] and heard[-1].step == heard[-1].steps == 6
    assert heard[-1].seconds_left == 0 and "epoch 3 of 3" in str(heard[-1])


def test_labels_are_used_where_they_are_asked_for() -> None:
    labels = run_dense(samples()[:384]).argmax(1).roll(1).numpy()  # wrong on purpose: only cross entropy can teach them
    x = samples()[:384]
    batches = Shuffled(x.numpy(), labels, 32)
    without, with_ = (qat(calibrated(), run_dense, batches, QatSettings(Schedule(3), labels=w)) for w in (0.0, 10.0))

    def right(q: Quantized) -> float:
        return float((simulate(q, x).argmax(1).numpy() == labels).mean())

    assert right(with_) > right(without) + 0.05


def test_zero_epochs_change_nothing() -> None:
    after = qat(calibrated(), run_dense, Shuffled(samples()[:64].numpy(), None, 32), QatSettings(Schedule(0)))
    assert after.grids == calibrated().grids and isinstance(after.grids["input"], Grid)
    assert torch.equal(run(after.graph, samples()[:4]), run(calibrated().graph, samples()[:4]))
    assert replace(after, weights={}) is not after
