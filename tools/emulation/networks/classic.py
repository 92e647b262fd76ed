"""ResNets, SqueezeNet 1.0, GoogLeNet and ShuffleNetV2 (He 2016; Iandola 2016; Szegedy 2015; Ma 2018), built as in torchvision."""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from networks.blocks import Classifier

INCEPTIONS = (  # 1x1, 3x3 reduce and out, second 3x3 reduce and out, after the pool; None: a maximum of stride 2
    (64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64), None, (192, 96, 208, 16, 48, 64), (160, 112, 224, 24, 64, 64),
    (128, 128, 256, 24, 64, 64), (112, 144, 288, 32, 64, 64), (256, 160, 320, 32, 128, 128), None,
    (256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128))
FIRES = ((16, 64), (16, 64), (32, 128), None, (32, 128), (48, 192), (48, 192), (64, 256), None, (64, 256))


def conv(c_in: int, c_out: int, k: int = 1, stride: int = 1, groups: int = 1, act: bool = True) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(c_in, c_out, k, stride, k // 2, groups=groups)]
    return nn.Sequential(*layers, *([nn.ReLU()] if act else []))


class Residual(nn.Module):
    def __init__(self, c_in: int, c_out: int, stride: int, block: nn.Module) -> None:
        super().__init__()
        self.block = block
        self.short = conv(c_in, c_out, 1, stride, act=False) if stride > 1 or c_in != c_out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.block(x) + self.short(x))


def _resnet(repeats: tuple[int, ...], bottleneck: bool) -> nn.Sequential:
    layers: list[nn.Module] = [conv(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1)]
    c = 64
    for i, n in enumerate(repeats):
        wide = 64 << i
        out = 4 * wide if bottleneck else wide
        for j in range(n):
            stride = 2 if i and j == 0 else 1
            parts = ([conv(c, wide), conv(wide, wide, 3, stride), conv(wide, out, act=False)] if bottleneck
                     else [conv(c, wide, 3, stride), conv(wide, wide, 3, act=False)])
            layers.append(Residual(c, out, stride, nn.Sequential(*parts)))
            c = out
    return nn.Sequential(*layers, Classifier(nn.Linear(c, 1000)))


def resnet18() -> nn.Sequential:
    return _resnet((2, 2, 2, 2), bottleneck=False)


def resnet50() -> nn.Sequential:
    return _resnet((3, 4, 6, 3), bottleneck=True)


def resnet20() -> nn.Sequential:
    """For 32 x 32 images (He 2016, section 4.2), with convolutions at the shortcuts."""
    layers: list[nn.Module] = [conv(3, 16, 3)]
    for c, wide in ((16, 16), (16, 32), (32, 64)):
        for j in range(3):
            c_in, stride = (c, wide // c) if j == 0 else (wide, 1)
            layers.append(Residual(c_in, wide, stride, nn.Sequential(conv(c_in, wide, 3, stride), conv(wide, wide, 3, act=False))))
    return nn.Sequential(*layers, Classifier(nn.Linear(64, 10)))


class Branches(nn.Module):
    """Branches of one input, side by side in the channels."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([b(x) for b in self.branches], 1)


def squeezenet() -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(3, 96, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True)]
    c = 96
    for fire in FIRES:
        if fire is None:
            layers.append(nn.MaxPool2d(3, 2, ceil_mode=True))
            continue
        layers += [conv(c, fire[0]), Branches(conv(fire[0], fire[1]), conv(fire[0], fire[1], 3))]
        c = 2 * fire[1]
    return nn.Sequential(*layers, conv(c, 1000), Classifier())


def googlenet() -> nn.Sequential:
    layers: list[nn.Module] = [conv(3, 64, 7, 2), nn.MaxPool2d(3, 2, ceil_mode=True), conv(64, 64), conv(64, 192, 3),
                               nn.MaxPool2d(3, 2, ceil_mode=True)]
    c = 192
    for i, parts in enumerate(INCEPTIONS):
        if parts is None:
            layers.append(nn.MaxPool2d(2 if i == 8 else 3, 2, ceil_mode=True))
            continue
        one, r3, n3, r5, n5, pool = parts
        layers.append(Branches(conv(c, one), nn.Sequential(conv(c, r3), conv(r3, n3, 3)), nn.Sequential(conv(c, r5), conv(r5, n5, 3)),
                               nn.Sequential(nn.MaxPool2d(3, 1, 1), conv(c, pool))))
        c = one + n3 + n5 + pool
    return nn.Sequential(*layers, Classifier(nn.Linear(c, 1000)))


class Shuffle(nn.Module):
    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        half, self.stride = c_out // 2, stride
        self.left = nn.Sequential(conv(c_in, c_in, 3, 2, c_in, act=False), conv(c_in, half)) if stride == 2 else nn.Identity()
        inner = c_in if stride == 2 else half
        self.right = nn.Sequential(conv(inner, half), conv(half, half, 3, stride, half, act=False), conv(half, half))

    def forward(self, x: Tensor) -> Tensor:
        left, right = (x, x) if self.stride == 2 else x.chunk(2, 1)
        y = torch.cat([self.left(left), self.right(right)], 1)
        n, c, h, w = y.shape
        return y.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


def shufflenet_v2() -> nn.Sequential:
    layers: list[nn.Module] = [conv(3, 24, 3, 2), nn.MaxPool2d(3, 2, 1)]
    c = 24
    for wide, repeats in ((116, 4), (232, 8), (464, 4)):
        for j in range(repeats):
            layers.append(Shuffle(c, wide, 2 if j == 0 else 1))
            c = wide
    return nn.Sequential(*layers, conv(c, 1024), Classifier(nn.Linear(1024, 1000)))
