"""What tests of low-rank training share: matrices of known singular values, and a small network trained on digits."""
from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

from edgelr.training import PLAIN, Method, Schedule, Shuffled, train
from edgelr.training.method import Matrix
from edgelr.vocabulary import Choice, Plan, Scheme

TRAIN = 1000
PLAN = Plan({"2": Choice("spatial", 8), "5": Choice("channel", 6), "10": Choice("linear", 7)})


def with_spectrum(singular: Sequence[float], m: int, n: int, seed: int = 0) -> Tensor:
    """A matrix [m, n], float64, with these singular values and random singular vectors."""
    generator = torch.Generator().manual_seed(seed)
    left, right = (torch.linalg.qr(torch.randn(side, len(singular), dtype=torch.float64, generator=generator)).Q for side in (m, n))
    return (left * torch.tensor(singular, dtype=torch.float64)) @ right.T


def matrix_of(weight: Tensor, rank: int, scheme: Scheme = "linear", groups: int = 1) -> Matrix:
    """A weight of its own as the matrix that a method trains."""
    return Matrix("w", nn.Parameter(weight.clone()), scheme, groups, rank)


def stepped(matrix: Matrix) -> torch.optim.Optimizer:
    """SGD with momentum on one weight."""
    return torch.optim.SGD([matrix.weight], 0.1, 0.9)


def small_net() -> nn.Sequential:
    """A convolution without and two with batch norm behind them, and a linear layer; for 1 x 8 x 8."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, 1, 1), nn.ReLU(),
        nn.Conv2d(16, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 32, 3, 1, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128, 10),
    )  # fmt: skip


@cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    """Images [1797, 1, 8, 8] of about unit size and class numbers, in an order of seed 0."""
    held = load_digits()
    order = np.random.default_rng(0).permutation(len(held.target))
    return (held.images[order, None] / 8 - 1).astype(np.float32), held.target[order].astype(np.int64)


def batches(seed: int = 0) -> Shuffled:
    x, y = digits()
    return Shuffled(x[:TRAIN], y[:TRAIN], 50, seed)


def fit(net: nn.Module, method: Method = PLAIN, epochs: int = 2, rate: float = 0.02, seed: int = 1) -> None:
    """Train in place with SGD; the network ends in eval mode."""
    net.train()

    def loss(batch: tuple[Tensor, Tensor | None]) -> Tensor:
        assert batch[1] is not None
        return F.cross_entropy(net(batch[0]), batch[1])

    train([(rate, list(net.parameters()))], loss, batches(seed), Schedule(epochs, "sgd", nesterov=True), method=method)
    net.eval()


@cache
def _trained() -> nn.Module:
    net = small_net()
    fit(net, epochs=6, rate=0.05, seed=0)
    return net


def trained_net() -> nn.Module:
    """A copy of the small network, trained for six epochs: 98 % of the other digits."""
    return copy.deepcopy(_trained())


@torch.no_grad()
def accuracy(net: nn.Module) -> float:
    """On the digits that nothing is trained on."""
    x, y = digits()
    return float((net(torch.from_numpy(x[TRAIN:])).argmax(1).numpy() == y[TRAIN:]).mean())
