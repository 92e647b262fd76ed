"""Small networks on scikit-learn's digits that truncation hurts, and a run of --train on them."""
from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgelr.data import Data
from edgelr.pipeline import Settings, compress, parse_budget
from edgelr.pipeline.demo import digits
from edgelr.report import Report


class Convolutional(nn.Sequential):
    """With batch norms: 48,000 parameters, of which low ranks leave three in ten."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Conv2d(16, 64, 3, 2, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
            nn.Conv2d(64, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))  # fmt: skip


class Rows(nn.Module):
    """An LSTM over the rows of a digit."""

    def __init__(self) -> None:
        super().__init__()
        self.seq = nn.LSTM(8, 32, batch_first=True)
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.seq(x.squeeze(1))[0][:, -1])


class Linear(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


@cache
def data() -> Data:
    return digits(seed=0)


@cache
def weights(kind: type[nn.Module]) -> dict[str, Tensor]:
    """After a second of training."""
    train = data().train
    assert train is not None and train.y is not None
    x, y = torch.from_numpy(train.x[:]), torch.from_numpy(train.y)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = kind()
        optimiser = torch.optim.Adam(net.parameters(), 4e-3)
        for _ in range(8 if kind is not Rows else 14):
            for part in torch.randperm(len(x)).split(48):
                loss = F.cross_entropy(net(x[part]), y[part])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
    return {k: v.detach().clone() for k, v in net.eval().state_dict().items()}


def network(kind: type[nn.Module]) -> nn.Module:
    net = kind()
    net.load_state_dict(weights(kind))
    return net.eval()


def run(
    kind: type[nn.Module], out: Path | None, budget: str = "", samples: Data | None = None, tell: Callable[[str], None] | None = None,
    **settings: Any,
) -> Report:
    """A run without latencies, which differ from one run to the next: same settings, same bytes."""
    short: dict[str, Any] = {"score_samples": 256, "calibration_samples": 64, "allow_slower": True, "method": "additive", "target": "host"}
    budgets = (parse_budget(budget),) if budget else ()
    chosen = Settings(out=str(out) if out else "", budgets=budgets, **{**short, **settings})
    return compress(chosen, model=network(kind), data=samples or data(), tell=tell or (lambda text: None))
