"""What a network's operations cost beyond their rows where the network is larger than the caches: weights and values come from farther.

A row is measured with its weights near, as those of a network are that the cache holds whole: there sums of rows are right. Of larger
networks they are too low, by what their size says. Measured on x86-64 (1 MB of L2, a share of 32 MB of L3; LiteRT 2.3.0, ONNX Runtime
1.31.1; docs/benchmarks/predicted.md): those of 17 MB by 0.012 to 0.020 us a KB in LiteRT and 0.027 to 0.042 in ONNX Runtime, one of
38 MB by 0.016 to 0.037 and by 0.027 to 0.054; in other hours by half or twice as much, as other users leave of L3. Emptying the caches
before each call instead makes small networks' rows too dear by up to 40 %.
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
_LARGE, _VAST = 16, 40  # times the cache: sizes that weights' times are told for; between them they go by the size's logarithm
_KEY = "far_us_per_kb"
_RANGE = (-4.0, 4.0)
Shares = tuple[float, float, float]


@dataclass(frozen=True)
class Far:
    """Microseconds for each KB (1,000 bytes) by numbers: of weights in a network of 16 MB, in one of 40 MB or more, and of values."""

    us_per_kb: Mapping[str, tuple[float, float, float]]

    @staticmethod
    def of(conditions: Mapping[str, str]) -> Far:
        """As a table's head tells it ("far_us_per_kb int8": "0.0040 0.0150 0.0010"); nothing where it doesn't. Raises BadInputError."""
        told = {key.split()[-1]: text.split() for key, text in conditions.items() if key.split()[0] == _KEY}
        try:
            return Far({numbers: (float(large), float(vast), float(values)) for numbers, (large, vast, values) in told.items()})
        except ValueError as error:
            raise BadInputError("The latency table is damaged.", f"{_KEY} isn't three numbers.", "build it again") from error

    def conditions(self) -> dict[str, str]:
        """For a table's head."""
        return {f"{_KEY} {numbers}": " ".join(f"{us:.4f}" for us in kinds) for numbers, kinds in sorted(self.us_per_kb.items())}

    def us(self, operation: Operation, shares: Shares) -> float:
        """What an operation costs more inside a network of these ``far_shares``."""
        kinds = self.us_per_kb.get(operation.numbers, (0.0, 0.0, 0.0))
        return sum(share * us * kb for share, us, kb in zip(shares, kinds, _kb(operation), strict=True))


@dataclass(frozen=True)
class Reference:
    """A network measured whole, without the cost of the call, and by row: (operation, microseconds alone)."""

    whole_us: float
    rows: Sequence[tuple[Operation, float]]


def far_shares(operations: Iterable[Operation]) -> Shares:
    """By how much each of the three times of ``Far`` counts in a network: none where the cache holds it.

    It goes through all weights, and the memory of its values, which they share. Values are far from twice the cache on; weights more and
    more up to sixteen times, by the size's logarithm, and then up to forty: behind one cache there is a larger one, which others use too.
    """
    every = list(operations)
    times = max(sum(map(weight_bytes, every)) + max(map(value_bytes, every), default=0), 1) / CACHE_BYTES
    large = min(max(log(times) / log(_LARGE), 0.0), 1.0)
    vast = min(max(log(times / _LARGE) / log(_VAST / _LARGE), 0.0), 1.0)
    return large - vast, vast, min(max(times - 1, 0.0), 1.0)


def far_us_per_kb(references: Sequence[Reference]) -> Shares:
    """The three times, by non-negative least squares on the relative error of whole networks (Lawson and Hanson 1974)."""
    from scipy.optimize import nnls

    left = [max(1 - sum(us for _, us in r.rows) / r.whole_us, 0.0) for r in references]
    found, _ = nnls(np.array([_far_kb(r) for r in references]), np.array(left))
    large, vast, values = found.tolist()
    return large, max(large, vast), values


def _kb(operation: Operation) -> Shares:
    weights = weight_bytes(operation) / 1e3
    return weights, weights, moved_bytes(operation) / 1e3


def _far_kb(r: Reference) -> list[float]:
    """What each of the three times counts for each microsecond of the whole."""
    shares, sizes = far_shares(o for o, _ in r.rows), zip(*(_kb(o) for o, _ in r.rows), strict=True)
    return [share * sum(kb) / r.whole_us for share, kb in zip(shares, sizes, strict=True)]


def reference_files(format: Format, numbers: Numbers) -> dict[str, bytes]:
    """Networks larger than the cache, three by their weights and one by its values; random weights, the same bytes each time."""
    c, side = (256, 28) if numbers == "int8" else (128, 20)
    nets: dict[str, tuple[list[nn.Module], tuple[int, ...]]] = {
        "wide": ([nn.Conv2d(2 * c, 2 * c, 3, padding=1) for _ in range(7)], (2 * c, 7, 7)),
        "points": ([nn.Conv2d(4 * c, 4 * c, 1) for _ in range(16)], (4 * c, 7, 7)),
        "vast": ([nn.Conv2d(4 * c, 4 * c, 3, padding=1) for _ in range(4)], (4 * c, 4, 4)),
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
