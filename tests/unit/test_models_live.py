"""Batch norms alive behind factorised layers: the same function in eval mode, the same training as the network as given, and back."""
from __future__ import annotations

import copy
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from edgelr.factorize import collect_moments, decompose, named_layers, rebuild
from edgelr.models import folding, live, settled
from edgelr.vocabulary import Choice, Plan


def grown(model: nn.Module) -> nn.Module:
    """Batch norms with all four numbers away from 0 and 1."""
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)):
        assert norm.running_mean is not None and norm.running_var is not None
        nn.init.normal_(norm.running_mean)
        nn.init.uniform_(norm.running_var, 0.2, 3.0)
        if norm.affine:
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias)
    return model.eval()


def prepared(
    model: nn.Module, shape: tuple[int, ...], plan: Plan, aware: Tensor | None = None
) -> tuple[nn.Module, Mapping[str, nn.Module]]:
    """The folded network, factorised, and the batch norms that were folded, by layer."""
    x = torch.randn(2, *shape)
    folded, names = folding(model, x)
    layers = named_layers(folded)
    moments = {} if aware is None else collect_moments(folded, list(plan.choices), [aware])
    made = {(n, c.scheme): decompose(layers[n], c.scheme, moments.get(n)) for n, c in plan.factorised().items()}
    return rebuild(folded, plan, made), {layer: model.get_submodule(norm) for layer, norm in names.items()}


def out(net: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return net(x)  # type: ignore[no-any-return]


def alike(a: Tensor, b: Tensor, share: float = 1e-5) -> bool:
    return bool((a - b).abs().max() <= share * b.abs().max())


CASES: dict[str, tuple[nn.Module, tuple[int, ...], Plan]] = {
    "dense": (nn.Sequential(nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU()), (3, 9, 9), Plan()),
    "channel": (nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1)), (3, 9, 9),
                Plan({"0": Choice("channel", 3)})),
    "spatial": (nn.Sequential(nn.Conv2d(3, 8, (3, 5), padding=2, bias=False), nn.BatchNorm2d(8), nn.Hardswish()), (3, 9, 9),
                Plan({"0": Choice("spatial", 5)})),
    "grouped": (nn.Sequential(nn.Conv2d(4, 8, 3, groups=2, bias=False), nn.BatchNorm2d(8)), (4, 9, 9), Plan({"0": Choice("channel", 3)})),
    "with a bias": (nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)), (3, 9, 9), Plan({"0": Choice("channel", 4)})),
    "with a bias, dense": (nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)), (3, 9, 9), Plan()),
    "not affine": (nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, affine=False)), (3, 9, 9), Plan({"0": Choice("spatial", 4)})),
    "not affine, dense": (nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8, affine=False)), (3, 9, 9), Plan()),
    "conv1d": (nn.Sequential(nn.Conv1d(3, 8, 5, bias=False), nn.BatchNorm1d(8)), (3, 20), Plan({"0": Choice("channel", 4)})),
    "linear": (nn.Sequential(nn.Linear(9, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)), (9,), Plan({"0": Choice("linear", 4)})),
    "nested": (nn.Sequential(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)), nn.ReLU(), nn.Conv2d(8, 5, 3), nn.BatchNorm2d(5)),
               (3, 9, 9), Plan({"0.0": Choice("channel", 4), "2": Choice("spatial", 6)})),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_in_eval_mode_it_computes_what_the_factorised_network_computes(case: str) -> None:
    model, shape, plan = CASES[case]
    folded, norms = prepared(grown(model), shape, plan)
    x, before = torch.randn(5, *shape), copy.deepcopy(folded.state_dict())
    net = live(folded, norms)
    assert alike(out(net.eval(), x), out(folded, x))
    assert sum(isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) for m in net.modules()) == len(norms) > 0
    assert all(torch.equal(v, before[k]) for k, v in folded.state_dict().items())


@pytest.mark.parametrize("case", [c for c in CASES if not CASES[c][2].factorised()])
def test_undivided_it_trains_as_the_network_as_given(case: str) -> None:
    model, shape, plan = CASES[case]
    given = copy.deepcopy(grown(model))
    net = live(*prepared(model, shape, plan))
    for step in range(3):
        x = torch.randn(6, *shape) + step
        assert alike(out(net.train(), x), out(given.train(), x), 1e-4)
    assert alike(out(net.eval(), x), out(given.eval(), x), 1e-4)  # the statistics that both have gathered


@pytest.mark.parametrize("case", CASES)
def test_trained_it_is_folded_to_the_layers_it_came_from(case: str) -> None:
    model, shape, plan = CASES[case]
    folded, norms = prepared(grown(model), shape, plan)
    net = live(folded, norms)
    weights = {k: v.detach().clone() for k, v in net.named_parameters()}
    optimizer = torch.optim.SGD(net.requires_grad_(True).train().parameters(), 0.05)
    for _ in range(2):
        optimizer.zero_grad()
        (net(torch.randn(6, *shape)).flatten(1) * torch.linspace(-1, 1, 6)[:, None]).sum().backward()
        optimizer.step()
    assert all(not torch.equal(v, weights[k]) for k, v in net.named_parameters() if "bias" not in k)
    back = settled(net, norms)
    x = torch.randn(5, *shape)
    assert alike(out(back, x), out(net.eval(), x)) and not alike(out(back, x), out(folded, x))
    assert {k: v.shape for k, v in back.state_dict().items()} == {k: v.shape for k, v in folded.state_dict().items()}
    assert [type(m) for m in back.modules()] == [type(m) for m in folded.modules()] and not back.training


def test_there_and_back_nothing_changes() -> None:
    model, shape, plan = CASES["nested"]
    folded, norms = prepared(grown(model), shape, plan)
    back = settled(live(folded, norms), norms)
    assert all(alike(v, folded.state_dict()[k]) for k, v in back.state_dict().items())


def test_channels_that_batch_norm_shut_stay_shut_and_finite() -> None:
    model = grown(nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 2, 1)))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([1.0, 0.0, -2.0, 1e-12, 0.5, 0.0]))  # type: ignore[index, union-attr, operator]
    folded, norms = prepared(model, (3, 9, 9), Plan({"0": Choice("channel", 5)}))
    net, x = live(folded, norms), torch.randn(6, 3, 9, 9)
    assert alike(out(net.eval(), x), out(folded, x))
    net.requires_grad_(True).train()
    (net(x) ** 2).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)
    assert torch.isfinite(out(settled(net, norms), x)).all()


def test_a_norm_that_is_shut_altogether_is_no_division_by_zero() -> None:
    model = grown(nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6)))
    nn.init.zeros_(model[1].weight)  # type: ignore[index, union-attr, arg-type]
    folded, norms = prepared(model, (3, 9, 9), Plan())
    x = torch.randn(2, 3, 9, 9)
    assert alike(out(live(folded, norms).eval(), x), out(folded, x))


def test_training_begins_at_the_means_that_input_aware_factors_keep() -> None:
    model = grown(nn.Sequential(nn.Conv2d(3, 16, 3, bias=False), nn.BatchNorm2d(16)))
    x = torch.rand(64, 3, 9, 9) + torch.tensor([2.0, -1.0, 3.0]).reshape(3, 1, 1)  # inputs with a mean, which the second bias makes good
    with torch.no_grad():
        seen = model[0](x)  # type: ignore[index, operator]
        model[1].running_mean.copy_(seen.mean((0, 2, 3)))  # type: ignore[index, union-attr, operator]
        model[1].running_var.copy_(seen.var((0, 2, 3)))  # type: ignore[index, union-attr, operator]
    folded, norms = prepared(model, (3, 9, 9), Plan({"0": Choice("channel", 2)}), aware=x)
    means = out(live(folded, norms).train(), x).mean((0, 2, 3))
    assert torch.allclose(means, out(model, x).mean((0, 2, 3)), atol=1e-4)
