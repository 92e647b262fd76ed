"""What a network's operations cost beyond their rows where the network is larger than the cache: weights and values come from farther.

A row is measured with its weights near, as those of a network are that the cache holds whole: there sums of rows are right (x86-64 with
1 MB of L2, LiteRT 2.3.0: ResNet-20 within 1 %, ViT-tiny -2 to -4 %). Of larger networks they are too low: of ResNet-18, VGG-16 and
ResNet-50 on integers by 11 %, in float by 1 to 5 %. Emptying the caches before each call instead makes small networks' rows too dear by
up to 40 %.
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import log

import numpy as np
import torch
from torch import nn

from edgelr.errors import BadInputError
from edgelr.export import onnx_bytes, tflite_bytes
from edgelr.graph import capture
from edgelr.latency.operation import Operation
from edgelr.latency.operation_bytes import moved_bytes, value_bytes, weight_bytes
from edgelr.quantization import quantize
from edgelr.vocabulary import Format, Kept, Numbers

CACHE_BYTES = 1_000_000  # L2 of a Cortex-A72 and of the x86-64 machine that this was measured on; A53 and A76 have half of it
_ALL_FAR = 16  # times the cache
_KEY = "far_us_per_kb"
_RANGE = (-4.0, 4.0)


@dataclass(frozen=True)
class Far:
    """Microseconds for each KB (1,000 bytes) of weights, and for each of values in and out, by numbers."""

    us_per_kb: Mapping[str, tuple[float, float]]

    @staticmethod
    def of(conditions: Mapping[str, str]) -> Far:
        """As a table's head tells it ("far_us_per_kb int8": "0.0150 0.0100"); nothing where it doesn't. Raises BadInputError."""
        told = {key.split()[-1]: text.split() for key, text in conditions.items() if key.split()[0] == _KEY}
        try:
            return Far({numbers: (float(weights), float(values)) for numbers, (weights, values) in told.items()})
        except ValueError as error:
            raise BadInputError("The latency table is damaged.", f"{_KEY} isn't two numbers.", "build it again") from error

    def conditions(self) -> dict[str, str]:
        """For a table's head."""
        return {f"{_KEY} {numbers}": f"{weights:.4f} {values:.4f}" for numbers, (weights, values) in sorted(self.us_per_kb.items())}

    def us(self, operation: Operation, shares: tuple[float, float]) -> float:
        """What an operation costs more inside a network that finds these ``far_shares`` of its weights and values far."""
        weights, values = self.us_per_kb.get(operation.numbers, (0.0, 0.0))
        return (shares[0] * weights * weight_bytes(operation) + shares[1] * values * moved_bytes(operation)) / 1e3


@dataclass(frozen=True)
class Reference:
    """A network measured whole, without the cost of the call, and by row: (operation, microseconds alone)."""

    whole_us: float
    rows: Sequence[tuple[Operation, float]]


def far_shares(operations: Iterable[Operation]) -> tuple[float, float]:
    """Which share of its weights, and of its values, a network finds far: none where the cache holds it.

    It goes through all weights, and the memory of its values, which they share. Values are far from twice the cache on; weights more and
    more up to sixteen times, by the size's logarithm: behind one cache there is a larger one, which others use too (x86-64 with 1 MB of
    L2, LiteRT 2.3.0, int8: what rows leave out of MobileNetV2, 3.5 MB, is 0.013 us for each KB, of ResNet-18, 12 MB, 0.029, of
    ResNet-50, 25 MB, 0.022).
    """
    every = list(operations)
    times = max(sum(map(weight_bytes, every)) + max(map(value_bytes, every), default=0), 1) / CACHE_BYTES
    return min(max(log(times) / log(_ALL_FAR), 0.0), 1.0), min(max(times - 1, 0.0), 1.0)


def far_us_per_kb(references: Sequence[Reference]) -> tuple[float, float]:
    """Of weights and of values, by non-negative least squares on the relative error of whole networks (Lawson and Hanson 1974)."""
    from scipy.optimize import nnls

    left = [max(1 - sum(us for _, us in r.rows) / r.whole_us, 0.0) for r in references]
    found, _ = nnls(np.array([_kb(r) for r in references]), np.array(left))
    return float(found[0]), float(found[1])


def _kb(r: Reference) -> list[float]:
    """Far KB of weights and of values for each microsecond of the whole."""
    shares = far_shares(o for o, _ in r.rows)
    return [share * sum(size(o) for o, _ in r.rows) / 1e3 / r.whole_us
            for share, size in zip(shares, (weight_bytes, moved_bytes), strict=True)]


def reference_files(format: Format, numbers: Numbers) -> dict[str, bytes]:
    """Networks larger than the cache, two by their weights and one by its values; random weights, the same bytes each time."""
    c, side = (256, 28) if numbers == "int8" else (128, 20)
    nets: dict[str, tuple[list[nn.Module], tuple[int, ...]]] = {
        "wide": ([nn.Conv2d(2 * c, 2 * c, 3, padding=1) for _ in range(7)], (2 * c, 7, 7)),
        "points": ([nn.Conv2d(4 * c, 4 * c, 1) for _ in range(16)], (4 * c, 7, 7)),
        "tall": ([layer for _ in range(28) for layer in _bottleneck(c // 4, 3 * c // 2)], (c // 4, side, side)),
    }
    return {name: _written(nn.Sequential(*layers), shape, format, numbers) for name, (layers, shape) in nets.items()}


def _bottleneck(c: int, inner: int) -> list[nn.Module]:
    return [nn.Conv2d(c, inner, 1), nn.ReLU(), nn.Conv2d(inner, inner, 3, padding=1, groups=inner), nn.ReLU(), nn.Conv2d(inner, c, 1)]


def _written(net: nn.Module, shape: tuple[int, ...], format: Format, numbers: Numbers) -> bytes:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for parameter in net.parameters():
            parameter.data = torch.randn_like(parameter) * 0.05
    graph = capture(net.eval(), shape)
    kept = None if numbers == "int8" else {n.name: Kept(numbers, "choice", "asked for") for n in graph.nodes}
    quantized = quantize(graph, dict.fromkeys(graph.shapes, _RANGE), kept)
    return tflite_bytes(quantized) if format == "tflite" else onnx_bytes(quantized)
