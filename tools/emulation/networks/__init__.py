"""Networks that published times are of, by name: exact in their operations, with random weights (latency doesn't depend on them)."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from networks.classic import googlenet, resnet18, resnet20, resnet50, shufflenet_v2, squeezenet
from networks.efficient import DETECTORS, LITE, EfficientDet, efficientnet_lite
from networks.mobilenets import mobilenet_v1, mobilenet_v2, mobilenet_v3_large, mobilenet_v3_small


@dataclass(frozen=True)
class Reference:
    """``macs`` and ``parameters`` are the published ones in millions (0: not published), without batch norm's own."""

    build: Callable[[], nn.Module]
    size: int
    macs: float = 0.0
    parameters: float = 0.0

    def model(self) -> nn.Module:
        """The network with seeded random weights, in eval mode; it takes [n, 3, size, size]."""
        torch.manual_seed(0)
        return self.build().eval()


# Millions of multiply-adds and parameters as the authors publish them, for the tests.
_V1 = {(1.0, 224): (569, 4.24), (0.75, 192): (233, 2.59), (0.5, 160): (76, 1.34), (0.25, 128): (14, 0.47)}
_V2 = {(1.4, 224): (582, 6.06), (1.3, 224): (509, 5.34), (1.0, 224): (300, 3.47), (1.0, 160): (154, 3.47), (0.75, 224): (209, 2.61),
       (0.5, 224): (97, 1.95), (0.5, 128): (32, 1.95), (0.35, 224): (59, 1.66), (0.35, 96): (11, 1.66)}
_LITE = ((407, 4.7), (631, 5.4), (899, 6.1), (1440, 8.2), (2640, 13.0))
_DETECTORS = ((0, 3.2), (0, 4.2), (0, 5.3))

REFERENCES: dict[str, Reference] = {
    **{f"mobilenet_v1_{w}/{s}": Reference(partial(mobilenet_v1, w, 1001), s, *_V1.get((w, s), ()))
       for w in (0.25, 0.5, 0.75, 1.0) for s in (128, 160, 192, 224)},
    **{f"mobilenet_v2_{w}/{s}": Reference(partial(mobilenet_v2, w), s, *_V2.get((w, s), ()))
       for w in (0.35, 0.5, 0.75, 1.0) for s in (96, 128, 160, 192, 224)},
    **{f"mobilenet_v2_{w}/224": Reference(partial(mobilenet_v2, w), 224, *_V2.get((w, 224), ())) for w in (1.3, 1.4)},
    "mobilenet_v3_large/224": Reference(mobilenet_v3_large, 224, 217, 5.4),
    "mobilenet_v3_large_0.75/224": Reference(partial(mobilenet_v3_large, 0.75), 224, 155, 4.0),
    "mobilenet_v3_large_minimalistic/224": Reference(partial(mobilenet_v3_large, 1.0, True), 224, 209, 3.9),
    "mobilenet_v3_small/224": Reference(mobilenet_v3_small, 224, 56, 2.5),
    "mobilenet_v3_small_0.75/224": Reference(partial(mobilenet_v3_small, 0.75), 224, 44, 2.0),
    "mobilenet_v3_small_minimalistic/224": Reference(partial(mobilenet_v3_small, 1.0, True), 224),
    **{f"efficientnet_lite{i}/{LITE[i][2]}": Reference(partial(efficientnet_lite, i), LITE[i][2], *_LITE[i]) for i in range(5)},
    **{f"efficientdet_lite{i}/{DETECTORS[i][0]}": Reference(partial(EfficientDet, i), DETECTORS[i][0], *_DETECTORS[i]) for i in range(3)},
    "resnet18/224": Reference(resnet18, 224, 1814, 11.69),
    "resnet20/32": Reference(resnet20, 32, 40.8, 0.27),
    "resnet50/224": Reference(resnet50, 224, 4089, 25.56),
    "squeezenet_1.0/224": Reference(squeezenet, 224, 819, 1.25),
    "googlenet/224": Reference(googlenet, 224, 1498, 6.62),
    "shufflenet_v2/224": Reference(shufflenet_v2, 224, 145, 2.28),
}
