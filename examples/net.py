"""A small convolutional network for 8x8 grey images, and where edgelr finds it: ``examples/net.py:digit_net``."""

from __future__ import annotations

from torch import nn


def digit_net() -> nn.Module:
    """Input (N, 1, 8, 8) in [0, 1]; ten classes. Any function without arguments that returns an ``nn.Module`` will do."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 64, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
        nn.Conv2d(64, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip
