"""Gate matrices of LSTM and GRU: factors that equal the dense ones, costs, and what is rebuilt and loaded."""
from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from edgelr.errors import BadInputError
from edgelr.factorize import Decomposition, Gates, Moments, choice_cost, decompose, gate_matrices, max_rank, named_layers, rebuild, skeleton
from edgelr.models import survey
from edgelr.vocabulary import DENSE, Choice, Layer, Plan, Scheme

FEATURES, HIDDEN, STEPS = 7, 12, 9
KINDS = [(nn.LSTM, {}), (nn.GRU, {}), (nn.LSTM, {"bidirectional": True}), (nn.GRU, {"num_layers": 2, "bidirectional": True}),
         (nn.LSTM, {"num_layers": 2, "bias": False}), (nn.LSTM, {"num_layers": 2, "proj_size": 5}), (nn.GRU, {"batch_first": False})]
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")


class Tagger(nn.Module):
    """A recurrent layer over [batch, steps, features], and a linear layer on its last step."""

    def __init__(self, kind: type[nn.LSTM | nn.GRU], **options: Any) -> None:
        super().__init__()
        self.seq = kind(FEATURES, HIDDEN, **{"batch_first": True, **options})
        width = (options.get("proj_size") or HIDDEN) * (2 if options.get("bidirectional") else 1)
        self.head = nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        self.seq.flatten_parameters()
        y = self.seq(x if self.seq.batch_first else x.transpose(0, 1))[0]
        return cast(Tensor, self.head(y[:, -1] if self.seq.batch_first else y[-1]))


def network(kind: type[nn.LSTM | nn.GRU], **options: Any) -> Tagger:
    torch.manual_seed(3)
    return Tagger(kind, **options).eval()


def planned(model: nn.Module, scheme: Scheme, rank: int | None = None) -> tuple[Plan, dict[tuple[str, Scheme], Decomposition]]:
    """All gate matrices at one rank, or at their full ones."""
    layers = {n: m for n, m in named_layers(model).items() if isinstance(m, Gates)}
    choices = {n: Choice(scheme, rank or max_rank(tuple(m.weight.shape), scheme, m.gates)) for n, m in layers.items()}
    return Plan(choices), {(n, scheme): decompose(m, scheme) for n, m in layers.items()}


@pytest.mark.parametrize("scheme", ["recurrent", "gates"])
@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_at_full_rank_the_rebuilt_network_computes_what_the_dense_one_does(
    kind: type[nn.LSTM], options: dict[str, Any], scheme: Scheme
) -> None:
    model, x = network(kind, **options), torch.randn(3, STEPS, FEATURES)
    small = rebuild(model, *planned(model, scheme))
    torch.testing.assert_close(small(x), model(x), rtol=1e-5, atol=1e-5)
    own = x if model.seq.batch_first else x.transpose(0, 1)
    final = model.seq(own)[1]
    hx = tuple(torch.randn(s.shape) for s in final) if kind is nn.LSTM else torch.randn(final.shape)
    for states in ((), (hx,)):
        one, other = cast(nn.Module, small.get_submodule("seq"))(own, *states), model.seq(own, *states)
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("scheme", ["recurrent", "gates"])
def test_below_full_rank_the_rebuilt_network_is_the_one_with_the_products(scheme: Scheme) -> None:
    model, x = network(nn.GRU, num_layers=2), torch.randn(3, STEPS, FEATURES)
    plan, made = planned(model, scheme, 3)
    small = rebuild(model, plan, made)
    with torch.no_grad():
        for (name, _), decomposition in made.items():
            assert decomposition.error(3) > 1e-3
            model.get_parameter(name).copy_(decomposition.product(3)[0])
        torch.testing.assert_close(small(x), model(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3)])
def test_a_rank_that_was_planted_is_found(kind: type[nn.LSTM], gates: int) -> None:
    """Stacked: one factor for all gates. By gates: one of rank 2 for each, whose stack has full rank."""
    module = kind(FEATURES, HIDDEN)
    stacked = torch.randn(gates * HIDDEN, 2) @ torch.randn(2, HIDDEN)
    each = torch.cat([torch.randn(HIDDEN, 2) @ torch.randn(2, HIDDEN) for _ in range(gates)])
    for matrix, scheme, found in ((stacked, "recurrent", 2), (stacked, "gates", 2), (each, "gates", 2), (each, "recurrent", 2 * gates)):
        with torch.no_grad():
            module.weight_hh_l0.copy_(matrix)
        layer = gate_matrices(module)["weight_hh_l0"]
        moments = Moments(layer)
        moments.update(torch.randn(300, HIDDEN))
        for decomposition in (decompose(layer, cast(Scheme, scheme)), decompose(layer, cast(Scheme, scheme), moments)):
            assert decomposition.error(found) < 1e-10 < decomposition.error(found - 1)
            torch.testing.assert_close(decomposition.product(found)[0], matrix, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scheme", ["recurrent", "gates"])
@pytest.mark.parametrize("bias", [True, False])
def test_aware_factors_err_least_on_the_inputs_and_tell_how_much(scheme: Scheme, bias: bool) -> None:
    layer = gate_matrices(nn.LSTM(FEATURES, HIDDEN, bias=bias).double())["weight_hh_l0"]
    x = torch.randn(2000, HIDDEN, dtype=torch.float64) * torch.linspace(3, 0.01, HIDDEN) + 0.5
    moments = Moments(layer)
    moments.update(x)
    aware, plain = decompose(layer, scheme, moments), decompose(layer, scheme)
    wanted = layer(x)
    energy = (wanted - wanted.mean(0)).square().sum() if bias else wanted.square().sum()
    lost = []
    for made in (aware, plain):
        weight, offset = made.product(3)
        lost.append(float(((nn.functional.linear(x, weight, offset) - wanted).square().sum() / energy).detach()))
    assert lost[0] == pytest.approx(aware.error(3), rel=1e-6)
    assert lost[0] < 0.9 * lost[1]


def test_middle_values_have_one_size_in_every_gate() -> None:
    """They go through one int8 grid where a file keeps the factors."""
    layer = gate_matrices(nn.LSTM(FEATURES, HIDDEN))["weight_ih_l0"]
    x = torch.randn(4096, FEATURES) * torch.linspace(10, 0.1, FEATURES)
    moments = Moments(layer)
    moments.update(x)
    first, second, _ = decompose(layer, "gates", moments).weights(3)
    assert first.shape == (12, FEATURES) and second.shape == (4 * HIDDEN, 3)
    sizes = (x @ first.T).square().mean(0).sqrt()
    assert float(sizes.max()) < 1.01 and float(sizes.min()) > 0.9


@pytest.mark.parametrize("scheme", ["recurrent", "gates"])
@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_costs_are_those_of_the_rebuilt_network_counted(kind: type[nn.LSTM], options: dict[str, Any], scheme: Scheme) -> None:
    model = network(kind, **options)
    layers: dict[str, Layer] = {w.name: w for w in survey(model, torch.zeros(2, STEPS, FEATURES))}
    for rank in (1, 2, 4):
        plan, made = planned(model, scheme, rank)
        small = rebuild(model, plan, made)
        assert sum(choice_cost(w, plan[n])[0] for n, w in layers.items()) == sum(p.numel() for p in small.parameters())
        for name, choice in plan.factorised().items():
            factors = [p for n, p in small.named_parameters() if n.startswith(f"{name}.")]
            # A multiply for each weight at each step: the factors of all gates read the step, or their own middle values, once.
            assert choice_cost(layers[name], choice)[1] == STEPS * sum(f.numel() for f in factors)
            assert choice_cost(layers[name], DENSE)[1] == STEPS * model.get_parameter(name).numel() == layers[name].macs


@pytest.mark.parametrize("scheme", ["recurrent", "gates"])
@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_a_skeleton_takes_the_state_dict_which_holds_factors_only(kind: type[nn.LSTM], options: dict[str, Any], scheme: Scheme) -> None:
    model, x = network(kind, **options), torch.randn(2, STEPS, FEATURES)
    plan, made = planned(model, scheme, 2)
    small = rebuild(model, plan, made)
    state = small.state_dict()
    assert set(plan.factorised()).isdisjoint(state)
    assert {f"{n}.{side}" for n in plan.factorised() for side in ("left", "right")} <= set(state)
    empty = skeleton(Tagger(kind, **options).eval(), plan)
    empty.load_state_dict(state)
    assert torch.equal(empty(x), small(x))


def test_one_matrix_can_be_factorised_and_the_others_stay_and_all_of_it_trains() -> None:
    model = network(nn.LSTM, num_layers=2)
    plan = Plan({"seq.weight_hh_l1": Choice("recurrent", 2), "head": Choice("linear", 2)})
    made = {(n, c.scheme): decompose(named_layers(model)[n], c.scheme) for n, c in plan.factorised().items()}
    small = rebuild(model, plan, made).train()
    assert torch.equal(small.state_dict()["seq.weight_hh_l0"], model.state_dict()["seq.weight_hh_l0"])
    assert isinstance(small.get_submodule("head"), nn.Sequential)
    small(torch.randn(2, STEPS, FEATURES)).sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in small.parameters())


def test_the_bias_takes_over_the_error_of_the_mean_in_the_rebuilt_network() -> None:
    model = network(nn.GRU)
    layer = cast(Gates, named_layers(model)["seq.weight_ih_l0"])
    moments = Moments(layer)
    moments.update(torch.randn(500, FEATURES) + 5)
    made = {("seq.weight_ih_l0", cast(Scheme, "recurrent")): decompose(layer, "recurrent", moments)}
    small = rebuild(model, Plan({"seq.weight_ih_l0": Choice("recurrent", 2)}), made)
    bias = made["seq.weight_ih_l0", "recurrent"].product(2)[1]
    assert bias is not None and not torch.allclose(bias, model.seq.bias_ih_l0)
    assert torch.equal(small.get_parameter("seq.bias_ih_l0"), bias)
    assert torch.equal(small.get_parameter("seq.bias_hh_l0"), model.seq.bias_hh_l0)


class OwnLstm(nn.LSTM):
    """A subclass may use its weights in ways of its own."""


@pytest.mark.parametrize(("name", "choice", "told"), [
    ("seq.weight_ih_l1", Choice("recurrent", 2), "did you mean"),
    ("seq.weight_ih_l0", Choice("linear", 2), "recurrent or gates"),
    ("seq.weight_hh_l0", Choice("gates", 13), "full rank is 12"),
    ("seq.weight_ih_l0", Choice("recurrent", 8), "full rank is 7"),
    ("seq", Choice("recurrent", 2), "LSTM"),
])
def test_a_plan_that_does_not_fit_names_the_matrix(name: str, choice: Choice, told: str) -> None:
    with pytest.raises(BadInputError) as caught:
        skeleton(network(nn.LSTM), Plan({name: choice}))
    assert repr(name) in caught.value.what
    assert told in str(caught.value)


def test_only_plain_modules_have_gate_matrices() -> None:
    assert list(gate_matrices(nn.LSTM(3, 4, bidirectional=True))) == [
        "weight_ih_l0", "weight_hh_l0", "weight_ih_l0_reverse", "weight_hh_l0_reverse"]
    for module in (OwnLstm(3, 4), nn.RNN(3, 4), nn.Linear(3, 4), nn.utils.parametrizations.weight_norm(nn.LSTM(3, 4), "weight_hh_l0")):
        assert gate_matrices(module) == {}
