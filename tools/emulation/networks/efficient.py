"""EfficientNet-Lite0-4 and EfficientDet-Lite0-2 (Tan & Le 2019; Tan, Pang & Le 2020; the authors' Lite configurations)."""
from __future__ import annotations

from math import ceil

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from networks.blocks import Classifier, Conv, Inverted, depthwise, rounded, same

# expansion, kernel, stride, out, repeats of EfficientNet-B0; the Lite forms scale neither the stem, the head nor the depth of both ends
B0 = ((1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3), (6, 5, 2, 192, 4), (6, 3, 1, 320, 1))
LITE = ((1.0, 1.0, 224), (1.0, 1.1, 240), (1.1, 1.2, 260), (1.2, 1.4, 280), (1.4, 1.8, 300))  # width, depth, resolution
DETECTORS = ((320, 64, 3, 3), (384, 88, 4, 3), (448, 112, 5, 3))  # resolution, channels, cells of the pyramid, repeats of the heads
ANCHORS, CLASSES = 9, 90


def _stages(lite: int) -> tuple[nn.Module, list[nn.Sequential], list[int]]:
    """Stem, stages and what each stage gives."""
    width, depth, _ = LITE[lite]
    stages, channels, c = [], [], 32
    for i, (expand, k, stride, wide, repeats) in enumerate(B0):
        out, blocks = rounded(wide * width), []
        for j in range(repeats if i in (0, len(B0) - 1) else ceil(repeats * depth)):
            blocks.append(Inverted(c, c * expand, out, k, stride if j == 0 else 1))
            c = out
        stages.append(nn.Sequential(*blocks))
        channels.append(c)
    return Conv(3, 32, 3, 2), stages, channels


def efficientnet_lite(lite: int) -> nn.Sequential:
    stem, stages, channels = _stages(lite)
    return nn.Sequential(stem, *stages, Conv(channels[-1], 1280), Classifier(nn.Linear(1280, 1000)))


class Node(nn.Module):
    """One node of the pyramid: what comes in is brought to its size and width, added, activated and convolved."""

    def __init__(self, c_ins: list[int], c: int) -> None:
        super().__init__()
        self.fits = nn.ModuleList(Conv(i, c, act=None) if i != c else nn.Identity() for i in c_ins)
        self.after = nn.Sequential(nn.ReLU6(), depthwise(c, act=None), Conv(c, c, act=None))

    def forward(self, *xs: Tensor) -> Tensor:
        size, total = xs[0].shape[-1], None
        for fit, x in zip(self.fits, xs, strict=True):
            y = fit(x)
            if y.shape[-1] > size:
                y = F.max_pool2d(_low(y), 3, 2)
            elif y.shape[-1] < size:
                y = F.interpolate(y, scale_factor=2.0, mode="nearest")[..., :size, :size]
            total = y if total is None else total + y
        y = self.after(total)
        assert isinstance(y, Tensor)
        return y


def _low(x: Tensor) -> Tensor:
    """SAME padding of a 3x3 maximum of stride 2; what comes here isn't below zero by much, and zeros cost what -inf would."""
    return same(x, 3, 2)


class Cell(nn.Module):
    """One cell of the two-way pyramid, levels 3 to 7."""

    def __init__(self, c_ins: list[int], c: int) -> None:
        super().__init__()
        self.down = nn.ModuleList(Node([c_ins[i], c_ins[4] if i == 3 else c], c) for i in (3, 2, 1, 0))
        self.up = nn.ModuleList(Node([c_ins[i], c, c] if i < 4 else [c_ins[4], c], c) for i in (1, 2, 3, 4))

    def forward(self, xs: list[Tensor]) -> list[Tensor]:
        tops = [xs[4]]
        for node, x in zip(self.down, (xs[3], xs[2], xs[1], xs[0]), strict=True):
            tops.append(node(x, tops[-1]))
        outs = [tops[4]]  # level 3 is done
        for i, node in enumerate(self.up, start=1):
            outs.append(node(xs[i], tops[4 - i], outs[-1]) if i < 4 else node(xs[4], outs[-1]))
        return outs


class Head(nn.Module):
    """Separable convolutions shared by all levels."""

    def __init__(self, c: int, out: int, repeats: int) -> None:
        super().__init__()
        middle = [m for _ in range(repeats) for m in (depthwise(c, act=None), Conv(c, c))]
        self.layers = nn.Sequential(*middle, depthwise(c, act=None), Conv(c, out, act=None))
        self.out = out

    def forward(self, xs: list[Tensor]) -> Tensor:
        return torch.cat([self.layers(x).permute(0, 2, 3, 1).reshape(x.shape[0], -1, self.out // ANCHORS) for x in xs], 1)


class EfficientDet(nn.Module):
    """Without the suppression of overlapping boxes. Gives one tensor: boxes beside classes."""

    def __init__(self, lite: int) -> None:
        super().__init__()
        _, c, cells, repeats = DETECTORS[lite]
        self.stem, stages, channels = _stages(lite)
        self.stages = nn.ModuleList(stages)
        self.six = Conv(channels[6], c, act=None)
        firsts = [channels[2], channels[4], channels[6], c, c]
        self.cells = nn.ModuleList(Cell(firsts if i == 0 else [c] * 5, c) for i in range(cells))
        self.classes, self.boxes = Head(c, ANCHORS * CLASSES, repeats), Head(c, ANCHORS * 4, repeats)

    def forward(self, x: Tensor) -> Tensor:
        y, found = self.stem(x), []
        for stage in self.stages:
            y = stage(y)
            found.append(y)
        six = F.max_pool2d(_low(self.six(found[6])), 3, 2)
        levels = [found[2], found[4], found[6], six, F.max_pool2d(_low(six), 3, 2)]
        for cell in self.cells:
            levels = cell(levels)
        return torch.cat([self.boxes(levels), self.classes(levels)], 2)
