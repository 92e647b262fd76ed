"""Training for low ranks: the ramped nuclear norm and the projections on the way."""
from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgelr.factorize import matrix_view, named_layers
from edgelr.training import RankTuning, Schedule, Shuffled, matrices, train
from edgelr.training.rank_tuning import RankTuningSettings, of_rank, polar, ramp_at, truncated
from edgelr.vocabulary import Choice, Plan


class Net(nn.Module):
    def __init__(self, kind: type[nn.LSTM | nn.GRU]) -> None:
        super().__init__()
        self.rnn, self.head = kind(6, 20, batch_first=True), nn.Linear(20, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.rnn(x)[0][:, -1])
        return y


PLAN = Plan({"rnn.weight_ih_l0": Choice("recurrent", 2), "rnn.weight_hh_l0": Choice("recurrent", 4), "head": Choice("linear", 1)})


def network(kind: type[nn.LSTM | nn.GRU] = nn.LSTM) -> Net:
    torch.manual_seed(0)
    return Net(kind)


def started(method: RankTuning, net: nn.Module, steps: int) -> RankTuning:
    method.start(steps, torch.optim.SGD(net.parameters(), 0.1))
    return method


def spectrum(net: nn.Module, name: str) -> Tensor:
    layer = named_layers(net)[name]
    return torch.linalg.svdvals(matrix_view(layer.weight, "recurrent" if "rnn" in name else "linear", 1)[0])  # type: ignore[arg-type]


def test_the_ramp_is_0_until_its_begin_and_1_from_its_end() -> None:
    ramp = (0.1, 0.5)
    assert [ramp_at(s, ramp) for s in (0.0, 0.1, 0.3, 0.5, 0.7, 1.0)] == [0.0, 0.0, pytest.approx(0.5), 1.0, 1.0, 1.0]
    assert [ramp_at(s, (0.0, 0.0)) for s in (0.0, 1.0)] == [1.0, 1.0]


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_renewed_each_step_the_penalty_is_the_nuclear_norm_with_its_gradient(kind: type[nn.LSTM | nn.GRU]) -> None:
    net = network(kind)
    method = started(RankTuning(matrices(net, PLAN), RankTuningSettings(0.3, (0.0, 0.0), 0, refresh=1)), net, 10)
    for step in (1, 2):
        net.zero_grad()
        penalty = method.penalty()
        assert penalty is not None
        penalty.backward()  # type: ignore[no-untyped-call]
        got = {name: named_layers(net)[name].weight.grad.clone() for name in PLAN.choices}  # type: ignore[union-attr, operator]
        net.zero_grad()
        expected = 0.3 * sum(torch.linalg.matrix_norm(named_layers(net)[name].weight, "nuc") for name in PLAN.choices)  # type: ignore[arg-type]
        torch.testing.assert_close(penalty, expected)
        expected.backward()  # type: ignore[union-attr]
        for name, gradient in got.items():
            torch.testing.assert_close(gradient, named_layers(net)[name].weight.grad, atol=1e-4, rtol=1e-3)  # type: ignore[union-attr]
        with torch.no_grad():
            net.rnn.weight_hh_l0.add_(torch.randn(net.rnn.weight_hh_l0.shape))
        method.after_step(step)


def test_between_renewals_the_penalty_never_exceeds_the_norm() -> None:
    net = network()
    method = started(RankTuning(matrices(net, PLAN), RankTuningSettings(1.0, (0.0, 0.0), 0, refresh=5)), net, 100)
    values = []
    for step in range(1, 11):
        penalty = method.penalty()
        assert penalty is not None
        norm = sum(float(spectrum(net, name).sum()) for name in PLAN.choices)
        assert penalty.item() <= norm * (1 + 1e-5)
        values.append(penalty.item() / norm)
        with torch.no_grad():
            net.rnn.weight_hh_l0.add_(torch.randn(net.rnn.weight_hh_l0.shape) / 10)
        method.after_step(step)
    assert values[0] == pytest.approx(1.0, abs=1e-5) and values[5] == pytest.approx(1.0, abs=1e-5)
    assert min(values[1:5]) < 0.99


def test_directions_that_rounding_left_have_no_gradient() -> None:
    matrix = (torch.randn(1, 12, 2) @ torch.randn(1, 2, 9))
    assert torch.linalg.svdvals(polar(matrix)[0])[:3].tolist() == pytest.approx([1.0, 1.0, 0.0], abs=1e-5)
    assert torch.equal(polar(torch.zeros(1, 4, 3)), torch.zeros(1, 4, 3))


def test_no_penalty_before_the_ramp_nor_without_weight() -> None:
    net = network()
    method = started(RankTuning(matrices(net, PLAN), RankTuningSettings(ramp=(0.2, 0.6))), net, 10)
    assert method.penalty() is None
    method.after_step(2)
    assert method.penalty() is None
    method.after_step(4)
    half = method.penalty()
    method.after_step(8)
    whole = method.penalty()
    assert half is not None and whole is not None and half.item() == pytest.approx(0.5 * whole.item(), rel=1e-4)
    assert started(RankTuning(matrices(net, PLAN), RankTuningSettings(weight=0.0)), net, 10).penalty() is None


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_every_so_many_steps_each_matrix_is_cut_to_its_rank_and_nothing_else_is_touched(kind: type[nn.LSTM | nn.GRU]) -> None:
    net = network(kind)
    before = {n: p.detach().clone() for n, p in net.named_parameters()}
    method = started(RankTuning(matrices(net, PLAN), RankTuningSettings(0.0, every=3)), net, 6)
    for step in (1, 2):
        method.after_step(step)
        assert all(torch.equal(p, before[n]) for n, p in net.named_parameters())
    method.after_step(3)
    for name, choice in PLAN.choices.items():
        assert choice.rank is not None
        s = spectrum(net, name)
        assert s[choice.rank - 1] > 1e-2 and float(s[choice.rank :].max()) < 1e-6 * float(s[0])
        own = before.get(name, before.get(f"{name}.weight"))
        torch.testing.assert_close(s[: choice.rank], torch.linalg.svdvals(own.double())[: choice.rank])  # type: ignore[union-attr]
    changed = {n for n, p in net.named_parameters() if not torch.equal(p, before[n])}
    assert changed == {"rnn.weight_ih_l0", "rnn.weight_hh_l0", "head.weight"}
    with torch.no_grad():
        net.rnn.weight_hh_l0.copy_(before["rnn.weight_hh_l0"])
    method.after_step(6)
    method.finish()
    assert torch.equal(net.rnn.weight_hh_l0, before["rnn.weight_hh_l0"])  # ranks are chosen after the last step, from what was trained


def test_projections_are_spread_over_the_training() -> None:
    net = network()
    for steps, wanted in ((50, [10, 20, 30, 40]), (103, [21, 42, 63, 84]), (3, [1, 2])):
        method = started(RankTuning(matrices(net, PLAN)), net, steps)
        cut = []
        for step in range(1, steps + 1):
            with torch.no_grad():
                net.rnn.weight_hh_l0.copy_(torch.randn(net.rnn.weight_hh_l0.shape))
            method.after_step(step)
            if float(spectrum(net, "rnn.weight_hh_l0")[5]) < 1e-4:
                cut.append(step)
        assert cut == wanted


def test_one_rank_for_all_is_held_to_each_matrixs_own() -> None:
    found = of_rank(matrices(network(), PLAN), 5)
    assert [m.rank for m in found] == [5, 5, 3]
    cut = truncated(found[1].view(), 5)
    assert torch.linalg.matrix_rank(cut[0].double(), rtol=1e-6) == 5


def test_trained_for_it_a_network_bears_the_truncation_that_costs_the_plain_one() -> None:
    torch.manual_seed(1)
    x = torch.randn(384, 8, 6)
    y = (x[:, -3:, :3].sum(1)).argmax(1)
    tails, lost = {}, {}
    for name, settings in (("plain", RankTuningSettings(0.0, every=0)), ("adapted", RankTuningSettings(3e-2, refresh=2))):
        net = network(nn.GRU)
        found = of_rank(matrices(net, Plan({n: c for n, c in PLAN.choices.items() if n != "head"})), 4)
        train([(5e-3, list(net.parameters()))], lambda b, net=net: F.cross_entropy(net(b[0]), b[1]),  # type: ignore[misc]
              Shuffled(x.numpy(), y.numpy(), 32), Schedule(12), method=RankTuning(found, settings))
        spectra = [spectrum(net, m.name) ** 2 for m in found]
        tails[name] = max(float(s[4:].sum() / s.sum()) for s in spectra)
        before = accuracy(net, x, y)
        for matrix in found:
            matrix.write(truncated(matrix.view(), 2))
        lost[name] = before - accuracy(net, x, y)
    assert tails["adapted"] < 1e-4 and tails["plain"] > 0.1
    assert lost["adapted"] < 0.02 and lost["plain"] > 0.08


def accuracy(net: nn.Module, x: Tensor, y: Tensor) -> float:
    with torch.no_grad():
        return float((net(x).argmax(1) == y).float().mean())


def test_a_resumed_training_goes_on_with_the_same_gradients() -> None:
    nets = [network(), network()]
    methods = [started(RankTuning(matrices(n, PLAN), RankTuningSettings(0.1, (0.0, 0.0), 0, refresh=7)), n, 50) for n in nets]
    for method, net in zip(methods, nets, strict=True):
        for step in range(1, 5):
            method.penalty()
            with torch.no_grad():
                net.rnn.weight_hh_l0.mul_(1 + step / 10)
            method.after_step(step)
    fresh = started(RankTuning(matrices(nets[1], PLAN), RankTuningSettings(0.1, (0.0, 0.0), 0, refresh=7)), nets[1], 50)
    kept, other = methods[0].penalty(), fresh.penalty()
    assert kept is not None and other is not None and not torch.equal(kept, other)  # anew at another step: other gradients
    fresh.load({k: v.clone() for k, v in methods[1].state().items()})
    again = fresh.penalty()
    assert again is not None and torch.equal(kept, again)


def test_after_a_projection_only_what_is_left_is_made_smaller() -> None:
    net = network()
    method = started(RankTuning(matrices(net, PLAN), RankTuningSettings(1.0, (0.0, 0.0), every=3, refresh=1000)), net, 20)
    method.penalty()
    method.after_step(3)
    penalty = method.penalty()
    assert penalty is not None
    penalty.backward()  # type: ignore[no-untyped-call]
    for name, choice in PLAN.choices.items():
        assert choice.rank is not None
        gradient = torch.linalg.svdvals(named_layers(net)[name].weight.grad)  # type: ignore[union-attr]
        assert gradient[: choice.rank + 1].tolist() == pytest.approx([1.0] * choice.rank + [0.0], abs=1e-4)
