"""A small quantised network with a little of everything that a written file must carry."""
from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn

from edgelr.graph import capture
from edgelr.quantization import Quantized, calibrate


class Sample(nn.Module):
    """Stem, depthwise, a residual, a mixed concatenation, and a linear head on a flattened map."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.deep = nn.Conv2d(8, 8, 3, groups=8, padding=1)
        self.side = nn.Conv2d(8, 4, 1)
        self.head = nn.Linear(12 * 4, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x).relu()
        y = torch.cat([(self.deep(y) + y).relu(), self.side(y)], 1)
        return self.head(nn.functional.max_pool2d(y, 2).flatten(1))


@cache
def sample() -> Quantized:
    torch.manual_seed(0)
    return calibrate(capture(Sample(), (3, 4, 4)), [torch.randn(16, 3, 4, 4)])


@cache
def sample_1d() -> Quantized:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv1d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 4))
    return calibrate(capture(net, (3, 10)), [torch.randn(8, 3, 10)])
