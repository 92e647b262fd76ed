"""The demo's network and data: a small residual CNN on scikit-learn's digits, split once and for all by seed."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgelr.data import Data, Split
from edgelr.errors import BadInputError

EPOCHS = 12
WIDTH = 32


class Block(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.shortcut = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out)) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class DigitNet(nn.Module):
    """Input (N, 1, 8, 8) in [0, 1], ten classes; about 0.7 M parameters."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.blocks = nn.Sequential(Block(width, width, 1), Block(width, 2 * width, 2), Block(2 * width, 4 * width, 2))
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * width, 10))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.blocks(self.stem(x)))
        return out


def digits(seed: int) -> Data:
    """The 1,797 digits: 60 % train, 15 % validation, 25 % test. Raises BadInputError where scikit-learn is missing."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise BadInputError(
            "the demo's data come with scikit-learn, which is not installed", "it is an optional part", "pip install 'edgelr[demo]'"
        ) from error
    bunch = load_digits()
    x = (bunch.images[:, None] / 16).astype(np.float32)
    order = np.random.default_rng(seed).permutation(len(x))
    train, validation, test = np.split(order, [int(0.6 * len(x)), int(0.75 * len(x))])
    parts = {name: Split(x[i], bunch.target[i]) for name, i in (("train", train), ("validation", validation), ("test", test))}
    return Data(parts["train"], parts["validation"], parts["test"], parts["train"], name="digits")


def trained(data: Data, seed: int) -> DigitNet:
    """Train for a few seconds on the training part."""
    assert data.train is not None and data.train.y is not None
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = DigitNet()
    x, y = torch.from_numpy(np.array(data.train.x[:])), torch.from_numpy(data.train.y)
    steps = EPOCHS * (len(x) // 64)
    optimiser = torch.optim.SGD(net.parameters(), 0.05, momentum=0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.1, total_steps=steps)
    net.train()
    for step in range(steps):
        if step % (len(x) // 64) == 0:
            order = torch.randperm(len(x), generator=generator)
        batch = order[(step % (len(x) // 64)) * 64 :][:64]
        loss = F.cross_entropy(net(x[batch]), y[batch])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    return net.eval()
