"""The networks that the five papers count on, from the papers' descriptions, with random weights.

He et al., "Deep Residual Learning" (CVPR 2016): sections 3.3 (ImageNet, table 1) and 4.2 (CIFAR-10). Simonyan and Zisserman (ICLR 2015),
configuration D, for CIFAR: one linear layer, or the three of 512 that learning-compression's VGG-16 has.
"""
from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

# How a shortcut changes shape: A pads channels with zeros, B is a 1x1 convolution with batch norm.
Shortcut = Literal["A", "B"]
IMAGENET_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}
VGG_WIDTHS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class Padded(nn.Module):
    """Every ``stride``-th pixel, and zeros for the new channels, half before and half behind."""

    def __init__(self, new_channels: int, stride: int) -> None:
        super().__init__()
        self.before, self.stride = new_channels // 2, stride
        self.behind = new_channels - self.before

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.behind))


def normed(c_in: int, c_out: int, k: int, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(c_in, c_out, k, stride, k // 2, bias=False), nn.BatchNorm2d(c_out)]


class Block(nn.Module):
    """Two 3x3 convolutions, or a bottleneck of three whose middle one takes the stride."""

    def __init__(self, c_in: int, width: int, stride: int, bottleneck: bool, shortcut: Shortcut) -> None:
        super().__init__()
        c_out = 4 * width if bottleneck else width
        rows = [(c_in, width, 1, 1), (width, width, 3, stride), (width, c_out, 1, 1)] if bottleneck else [
            (c_in, width, 3, stride), (width, width, 3, 1)]
        parts: list[nn.Module] = []
        for row in rows:
            parts += [*normed(*row), nn.ReLU()]
        self.body = nn.Sequential(*parts[:-1])
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or c_in != c_out:
            self.shortcut = nn.Sequential(*normed(c_in, c_out, 1, stride)) if shortcut == "B" else Padded(c_out - c_in, stride)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.relu(self.body(x) + self.shortcut(x))
        return y


class ResNet(nn.Module):
    def __init__(
        self, stem: list[nn.Module], width: int, blocks: tuple[int, ...], bottleneck: bool, shortcut: Shortcut, classes: int
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(*stem)
        stages, c_in = [], width
        for stage, count in enumerate(blocks):
            made = []
            for at in range(count):
                made.append(Block(c_in, width << stage, 2 if stage and not at else 1, bottleneck, shortcut))
                c_in = (width << stage) * (4 if bottleneck else 1)
            stages.append(nn.Sequential(*made))
        self.stages = nn.Sequential(*stages)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(c_in, classes)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fc(torch.flatten(self.pool(self.stages(self.stem(x))), 1))
        return y


def thin_resnet(depth: int, shortcut: Shortcut = "A") -> ResNet:
    """CIFAR-10's ResNet-20, -56, -110: 16, 32 and 64 channels, (depth - 2) / 6 blocks a stage. Takes (N, 3, 32, 32)."""
    return ResNet([*normed(3, 16, 3), nn.ReLU()], 16, ((depth - 2) // 6,) * 3, False, shortcut, 10)


def wide_resnet(depth: int, classes: int = 10) -> ResNet:
    """ImageNet's ResNet-18, -34, -50 with a 3x3 stem and no pooling, as for CIFAR. Takes (N, 3, 32, 32)."""
    return ResNet([*normed(3, 64, 3), nn.ReLU()], 64, IMAGENET_BLOCKS[depth], depth >= 50, "B", classes)


def imagenet_resnet(depth: int) -> ResNet:
    """ResNet-18, -34, -50. Takes (N, 3, 224, 224)."""
    stem = [*normed(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    return ResNet(stem, 64, IMAGENET_BLOCKS[depth], depth >= 50, "B", 1000)


def vgg16(hidden: tuple[int, ...] = ()) -> nn.Sequential:
    """VGG-16 with batch norm for CIFAR, ``hidden`` its linear layers before the last. Takes (N, 3, 32, 32)."""
    parts: list[nn.Module] = []
    c_in = 3
    for widths in VGG_WIDTHS:
        for c_out in widths:
            parts += [*normed(c_in, c_out, 3), nn.ReLU()]
            c_in = c_out
        parts.append(nn.MaxPool2d(2))
    parts.append(nn.Flatten())
    for c_out in hidden:
        parts += [nn.Linear(c_in, c_out), nn.ReLU()]
        c_in = c_out
    return nn.Sequential(*parts, nn.Linear(c_in, 10))
