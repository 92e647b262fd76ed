"""A residual network with repeated blocks, trained for a moment on the striped samples: layers that can have a factor in common."""

from __future__ import annotations

from functools import cache

import torch
from journey_sample import samples
from torch import Tensor, nn
from torch.nn import functional as F


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.norm2 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x))))))


class Residual(nn.Module):
    """1x8x8 in, 4 classes out; three blocks, so that two groups of three layers are found."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(3)))
        self.head = nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(torch.relu(self.norm(self.stem(x)))).mean((2, 3)))


GROUPS = {f"blocks.0-2.{conv}": tuple(f"blocks.{i}.{conv}" for i in range(3)) for conv in ("conv1", "conv2")}


@cache
def _trained() -> dict[str, Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Residual()
        optimiser = torch.optim.Adam(net.parameters(), 3e-3)
        x, y = (torch.from_numpy(v) for v in samples(512, 1))
        for step in range(40):
            part = slice(step % 8 * 64, step % 8 * 64 + 64)
            loss = F.cross_entropy(net(x[part]), y[part])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        with torch.no_grad():  # as in a long-trained network: gains of both signs
            net.blocks[0].norm1.weight[::5] *= -1
    return {k: v.detach().clone() for k, v in net.state_dict().items()}


def residual() -> nn.Module:
    net = Residual()
    net.load_state_dict(_trained())
    return net.eval()
