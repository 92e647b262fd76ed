"""MobileNet V1, V2 and V3 of any width (Howard et al. 2017, table 1; Sandler et al. 2018, table 2; Howard et al. 2019, tables 1 and 2)."""
from __future__ import annotations

from torch import nn

from networks.blocks import Classifier, Conv, Inverted, depthwise, rounded

V1 = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
V2 = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
# kernel, hidden, out, squeeze and excite, hard swish, stride
Row = tuple[int, int, int, bool, bool, int]
V3_LARGE: tuple[Row, ...] = (
    (3, 16, 16, False, False, 1), (3, 64, 24, False, False, 2), (3, 72, 24, False, False, 1), (5, 72, 40, True, False, 2),
    (5, 120, 40, True, False, 1), (5, 120, 40, True, False, 1), (3, 240, 80, False, True, 2), (3, 200, 80, False, True, 1),
    (3, 184, 80, False, True, 1), (3, 184, 80, False, True, 1), (3, 480, 112, True, True, 1), (3, 672, 112, True, True, 1),
    (5, 672, 160, True, True, 2), (5, 960, 160, True, True, 1), (5, 960, 160, True, True, 1))
V3_SMALL: tuple[Row, ...] = (
    (3, 16, 16, True, False, 2), (3, 72, 24, False, False, 2), (3, 88, 24, False, False, 1), (5, 96, 40, True, True, 2),
    (5, 240, 40, True, True, 1), (5, 240, 40, True, True, 1), (5, 120, 48, True, True, 1), (5, 144, 48, True, True, 1),
    (5, 288, 96, True, True, 2), (5, 576, 96, True, True, 1), (5, 576, 96, True, True, 1))


def mobilenet_v1(width: float = 1.0, classes: int = 1000) -> nn.Sequential:
    c = int(32 * width)
    layers: list[nn.Module] = [Conv(3, c, 3, 2)]
    for wide, stride in V1:
        out = int(wide * width)
        layers += [depthwise(c, 3, stride), Conv(c, out)]
        c = out
    return nn.Sequential(*layers, Classifier(nn.Linear(c, classes)))


def mobilenet_v2(width: float = 1.0, classes: int = 1000) -> nn.Sequential:
    c = rounded(32 * width)
    layers: list[nn.Module] = [Conv(3, c, 3, 2)]
    for expand, wide, repeats, stride in V2:
        for i in range(repeats):
            out = rounded(wide * width)
            layers.append(Inverted(c, c * expand, out, 3, stride if i == 0 else 1))
            c = out
    last = rounded(1280 * max(1.0, width))
    return nn.Sequential(*layers, Conv(c, last), Classifier(nn.Linear(last, classes)))


def _v3(rows: tuple[Row, ...], last: int, width: float, minimalistic: bool) -> nn.Sequential:
    """``minimalistic``: 3x3 kernels, ReLU, no squeeze and excite (the authors' variant for DSPs)."""
    swish = nn.ReLU if minimalistic else nn.Hardswish
    c, c_table = rounded(16 * width), 16
    layers: list[nn.Module] = [Conv(3, c, 3, 2, act=swish)]
    for k, hidden, wide, squeeze, swishes, stride in rows:
        out = rounded(wide * width)
        act = swish if swishes else nn.ReLU
        between = rounded(c * hidden / c_table)  # the authors expand by a ratio of what comes in
        layers.append(Inverted(c, between, out, 3 if minimalistic else k, stride, act, squeeze and not minimalistic))
        c, c_table = out, wide
    wide = 6 * c
    return nn.Sequential(*layers, Conv(c, wide, act=swish), Classifier(nn.Linear(wide, last), swish(), nn.Linear(last, 1000)))


def mobilenet_v3_large(width: float = 1.0, minimalistic: bool = False) -> nn.Sequential:
    return _v3(V3_LARGE, 1280, width, minimalistic)


def mobilenet_v3_small(width: float = 1.0, minimalistic: bool = False) -> nn.Sequential:
    return _v3(V3_SMALL, 1024, width, minimalistic)
