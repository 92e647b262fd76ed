"""What the reference networks are built of. Batch norm is left out: it is folded into the convolution before a file is written."""
from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def rounded(channels: float, divisor: int = 8) -> int:
    """The nearest multiple of ``divisor``, never below 90 % of ``channels`` (Sandler et al. 2018, the authors' code)."""
    near = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return near + divisor if near < 0.9 * channels else near


def same(x: Tensor, kernel: int, stride: int) -> Tensor:
    """``x`` with TensorFlow's SAME zeros around it: output ceil(i / stride), the odd zero after."""
    pads: list[int] = []
    for size in (x.shape[-1], x.shape[-2]):
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads) if any(pads) else x


class Conv(nn.Module):
    """A convolution with SAME padding and its activation."""

    def __init__(self, c_in: int, c_out: int, k: int = 1, stride: int = 1, groups: int = 1, act: type[nn.Module] | None = nn.ReLU6) -> None:
        super().__init__()
        self.k, self.stride = k, stride
        self.conv = nn.Conv2d(c_in, c_out, k, stride, groups=groups)
        self.act = act() if act else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(self.conv(same(x, self.k, self.stride)))
        return y


def depthwise(channels: int, k: int = 3, stride: int = 1, act: type[nn.Module] | None = nn.ReLU6) -> Conv:
    return Conv(channels, channels, k, stride, channels, act)


class Squeeze(nn.Module):
    """Squeeze and excite (Howard et al. 2019): a quarter of the channels, hard sigmoid."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        narrow = rounded(channels / 4)
        self.reduce, self.expand = nn.Conv2d(channels, narrow, 1), nn.Conv2d(narrow, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.hardsigmoid(self.expand(F.relu(self.reduce(x.mean((2, 3), keepdim=True))))) * x


class Inverted(nn.Module):
    """Inverted residual: 1x1 to ``hidden``, depthwise, 1x1 to ``c_out`` without an activation."""

    def __init__(
        self, c_in: int, hidden: int, c_out: int, k: int, stride: int, act: type[nn.Module] = nn.ReLU6, squeeze: bool = False
    ) -> None:
        super().__init__()
        self.adds = stride == 1 and c_in == c_out
        expand = [Conv(c_in, hidden, act=act)] if hidden != c_in else []
        gate = [Squeeze(hidden)] if squeeze else []
        self.block = nn.Sequential(*expand, depthwise(hidden, k, stride, act), *gate, Conv(hidden, c_out, act=None))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.block(x)
        return x + y if self.adds else y


class Classifier(nn.Sequential):
    """Global mean and the linear layers behind it."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__(nn.AdaptiveAvgPool2d(1), nn.Flatten(), *layers)
