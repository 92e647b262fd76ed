"""Networks that the rules of prices were never tried on: SqueezeNet, EfficientNet-Lite0, and a GRU (``recurrent_nets``)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# Expansion, channels, blocks, stride, kernel: Tan and Le 2019, table 1; "lite" leaves squeeze-and-excitation out and has ReLU6.
_STAGES = ((1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3), (6, 112, 3, 1, 5), (6, 192, 4, 2, 5), (6, 320, 1, 1, 3))
# Squeeze and expand of each fire module, and a pooling before some: Iandola et al. 2016, version 1.1.
_FIRES = ((16, 64), (16, 64), None, (32, 128), (32, 128), None, (48, 192), (48, 192), (64, 256), (64, 256))


def _conv(c_in: int, c_out: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(c_out)]


class _Inverted(nn.Module):
    def __init__(self, c_in: int, c_out: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        inner, self.same = c_in * expansion, c_in == c_out and stride == 1
        widen = [*_conv(c_in, inner, 1), nn.ReLU6()] if expansion > 1 else []
        self.layers = nn.Sequential(*widen, *_conv(inner, inner, kernel, stride, inner), nn.ReLU6(), *_conv(inner, c_out, 1))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y if self.same else y


class EfficientNetLite0(nn.Sequential):
    def __init__(self, classes: int = 1000) -> None:
        blocks, c_in = [], 32
        for expansion, c_out, count, stride, kernel in _STAGES:
            for i in range(count):
                blocks.append(_Inverted(c_in, c_out, expansion, kernel, stride if i == 0 else 1))
                c_in = c_out
        head = [*_conv(c_in, 1280, 1), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, classes)]
        super().__init__(*_conv(3, 32, 3, 2), nn.ReLU6(), *blocks, *head)


class _Fire(nn.Module):
    def __init__(self, c_in: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Sequential(nn.Conv2d(c_in, squeeze, 1), nn.ReLU())
        self.one, self.three = nn.Conv2d(squeeze, expand, 1), nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.squeeze(x)
        return torch.cat([self.one(y).relu(), self.three(y).relu()], 1)


class SqueezeNet(nn.Sequential):
    def __init__(self, classes: int = 1000) -> None:
        layers: list[nn.Module] = [nn.Conv2d(3, 64, 3, 2), nn.ReLU(), nn.MaxPool2d(3, 2)]
        c_in = 64
        for fire in _FIRES:
            if fire is None:
                layers.append(nn.MaxPool2d(3, 2))
                continue
            layers.append(_Fire(c_in, *fire))
            c_in = 2 * fire[1]
        super().__init__(*layers, nn.Conv2d(c_in, classes, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
