"""Batch-norm statistics taken anew: those of the weights as they are, and nothing else changes."""
from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from edgelr.training import recalibrate

Norm = nn.BatchNorm1d | nn.BatchNorm2d


def net() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4, momentum=0.01), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(36, 3),
                         nn.BatchNorm1d(3))  # fmt: skip


def drawn(count: int, size: int = 8) -> list[tuple[Tensor, None]]:
    return [(torch.randn(size, 2, 5, 5) * 3 + 1, None) for _ in range(count)]


def test_statistics_are_the_mean_over_the_batches() -> None:
    model, batches = net().eval(), drawn(3)
    recalibrate(model, batches)
    with torch.no_grad():
        outputs = [model[0](x) for x, _ in batches]
    norm = model[1]
    assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None
    assert torch.allclose(norm.running_mean, torch.stack([y.mean((0, 2, 3)) for y in outputs]).mean(0), atol=1e-5)
    assert torch.allclose(norm.running_var, torch.stack([y.var((0, 2, 3)) for y in outputs]).mean(0), rtol=1e-4)


@pytest.mark.parametrize("scale", [0.01, 100.0])
def test_after_it_the_scale_of_a_layer_does_not_matter(scale: float) -> None:
    model, batches = net().eval(), drawn(2)
    recalibrate(model, batches)
    with torch.no_grad():
        before = model(batches[0][0])
        for p in (model[0].weight, model[0].bias):
            p.mul_(scale)
        assert not torch.allclose(model(batches[0][0]), before, atol=0.1)
        recalibrate(model, batches)
        assert torch.allclose(model(batches[0][0]), before, rtol=0.02, atol=0.02)  # up to the eps in the root


def test_only_statistics_change_and_dropout_sleeps() -> None:
    model = net().train()
    model[2].eval()
    before, modes = copy.deepcopy(model.state_dict()), [m.training for m in model.modules()]
    batches = drawn(2)
    recalibrate(model, batches)
    first = copy.deepcopy(model.state_dict())
    recalibrate(model, batches)
    assert [m.training for m in model.modules()] == modes
    assert [m.momentum for m in model if isinstance(m, Norm)] == [0.01, 0.1]
    for key, value in model.state_dict().items():
        assert torch.equal(value, first[key])  # a second time is the same: nothing was drawn
        assert torch.equal(value, before[key]) != ("running" in key or "tracked" in key)
    assert all(p.grad is None for p in model.parameters())


def test_networks_without_statistics_are_left_alone() -> None:
    for model in (nn.Sequential(nn.Linear(2, 2)), nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2, track_running_stats=False))):
        before = copy.deepcopy(model.state_dict())
        recalibrate(model, [(torch.randn(4, 2), None)])
        assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
