"""Folding batch norm keeps the function, and folds nothing that it may not."""
from __future__ import annotations

import sys

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgelr.errors import UnsupportedError
from edgelr.models import fold_batch_norm


def with_statistics(model: nn.Module) -> nn.Module:
    """Batch norms with all four numbers away from 0 and 1."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            if module.running_mean is not None:
                nn.init.normal_(module.running_mean)
                nn.init.uniform_(module.running_var, 0.2, 3.0)  # type: ignore[arg-type]
            if module.affine:
                nn.init.normal_(module.weight)
                nn.init.normal_(module.bias)
    return model.eval()


def norms(model: nn.Module) -> list[str]:
    return [n for n, m in model.named_modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]


def folded_alike(model: nn.Module, *shape: int) -> nn.Module:
    x = torch.randn(4, *shape)
    folded = fold_batch_norm(with_statistics(model), x[:2])
    with torch.no_grad():
        want, got = model(x), folded(x)
    assert (want - got).abs().max() <= 1e-5 * want.abs().max()
    return folded


@pytest.mark.parametrize(("model", "shape"), [
    (nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1, groups=3, bias=False), nn.BatchNorm2d(6), nn.ReLU()), (3, 9, 9)),
    (nn.Sequential(nn.Conv2d(3, 6, 3, padding="same", padding_mode="reflect"), nn.BatchNorm2d(6, affine=False)), (3, 9, 9)),
    (nn.Sequential(nn.Conv1d(3, 6, 3, dilation=2), nn.BatchNorm1d(6)), (3, 9)),
    (nn.Sequential(nn.Flatten(), nn.Linear(8, 5), nn.BatchNorm1d(5), nn.Dropout(), nn.Linear(5, 2)), (2, 4)),
])
def test_batch_norm_after_its_layer_is_folded(model: nn.Module, shape: tuple[int, ...]) -> None:
    before = {n: t.clone() for n, t in model.state_dict().items() if "running" not in n}
    assert norms(folded_alike(model, *shape)) == []
    assert norms(model) and before.keys() <= model.state_dict().keys()


class Mixed(nn.Module):
    """What may not be folded: norm first, two readers, a shared conv, after an addition, over another axis, batch statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.BatchNorm2d(3)
        self.two_readers, self.its_norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.shared, self.norm_a, self.norm_b = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.after_add = nn.BatchNorm2d(4)
        self.tied_a, self.tied_b, self.tied_norm = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.tied_b.weight = self.tied_a.weight
        self.ok, self.ok_norm = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.used_twice, self.before_1, self.before_2 = nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
        self.rows, self.row_norm = nn.Linear(16, 7), nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.two_readers(self.first(x))
        x = self.its_norm(x) + x
        x = self.norm_b(self.shared(self.norm_a(self.shared(x))))
        x = self.after_add(x + 1)
        x = self.tied_b(self.tied_norm(self.tied_a(x)))
        x = functional.relu(self.ok_norm(self.ok(x)))
        x = self.used_twice(self.before_2(self.used_twice(self.before_1(x))))
        return self.row_norm(self.rows(x.flatten(2)))


def test_nothing_else_is_folded() -> None:
    kept = norms(folded_alike(Mixed(), 3, 4, 4))
    assert kept == ["first", "its_norm", "norm_a", "norm_b", "after_add", "tied_norm", "used_twice", "row_norm"]


class OwnWeights(nn.Conv2d):
    """Standardises its weight before use: folding into the stored weight would change the function."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean(dim=(1, 2, 3), keepdim=True)
        return functional.conv2d(x, weight, self.bias)


@pytest.mark.parametrize("conv", [OwnWeights(3, 4, 3), nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3))])
def test_a_computed_weight_is_not_folded_into(conv: nn.Module) -> None:
    assert norms(folded_alike(nn.Sequential(conv, nn.BatchNorm2d(4)), 3, 5, 5)) == ["1"]


def test_batch_norm_by_batch_statistics_stays() -> None:
    assert norms(folded_alike(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)), 3, 5, 5)) == ["1"]


def test_resnet20_folds_whole(shared: object) -> None:
    sys.path.insert(0, f"{shared}/models")
    try:
        from resnet_cifar import resnet20  # type: ignore[import-not-found]
    finally:
        sys.path.pop(0)
    assert norms(folded_alike(resnet20(), 3, 32, 32)) == []


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 1 if x.sum() > 0 else x - 1


def test_a_network_that_can_t_be_captured_is_told_where() -> None:
    with pytest.raises(UnsupportedError) as told:
        fold_batch_norm(nn.Sequential(nn.Conv2d(1, 1, 1), Branching()), torch.zeros(1, 1, 2, 2))
    assert "1 (Branching)" in told.value.what and "forward()" in told.value.try_ and "\n" not in told.value.why
