"""What a network's operations cost beyond their rows where the network is larger than the cache: weights and values come from farther.

A row is measured with its weights near, as those of a network are that the cache holds whole: there sums of rows are right (x86-64 with
1 MB of L2, LiteRT 2.3.0: ResNet-20 and ViT-tiny -1 to -3 %). Of larger networks they are too low (MobileNetV2 and ResNet-18: -14 to
-17 % on integers, -4 to -13 % in float): by about 0.03 us for each KB of weights and values on integers, and 0.01 us in float. Emptying the
caches before each call instead makes small networks' rows too dear by up to 40 %.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from torch import nn

from edgelr.errors import BadInputError
from edgelr.export import onnx_bytes, tflite_bytes
from edgelr.graph import capture
from edgelr.latency.operation import Operation
from edgelr.quantization import quantize
from edgelr.vocabulary import Format, Kept, Numbers

CACHE_BYTES = 1_000_000  # L2 of a Cortex-A72 and of the x86-64 machine that this was measured on; A53 and A76 have half of it
_WEIGHT_BYTES: Mapping[Numbers, int] = {"int8": 1, "dynamic": 1, "float": 4}
_VALUE_BYTES: Mapping[Numbers, int] = {"int8": 1, "dynamic": 4, "float": 4}
_GATES = {"lstm": 4, "gru": 3}
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

    def us(self, operation: Operation) -> float:
        """What an operation costs more inside a network of which the cache holds nothing when it comes round again."""
        weights, values = self.us_per_kb.get(operation.numbers, (0.0, 0.0))
        return (weights * weight_bytes(operation) + values * moved_bytes(operation)) / 1e3


@dataclass(frozen=True)
class Reference:
    """A network measured whole, without the cost of the call, and by row: (operation, times, microseconds alone)."""

    whole_us: float
    rows: Sequence[tuple[Operation, int, float]]


def weight_bytes(operation: Operation) -> int:
    """Of stored matrices and kernels."""
    o = operation
    c_in, c_out = o.inputs[0][-1] if o.inputs else 0, o.output[-1] if o.output else 0
    count = 0
    if o.op == "depthwise":
        count = prod(o.kernel) * c_out
    elif o.op in ("conv", "conv_transpose"):
        count = prod(o.kernel) * c_in * c_out // max(o.groups, 1)
    elif o.op == "linear":
        count = c_in * c_out
    elif o.op in _GATES:
        count = _GATES[o.op] * (c_in + c_out) * c_out
    return count * _WEIGHT_BYTES[o.numbers]


def value_bytes(operation: Operation) -> int:
    """Of what an operation reads and writes."""
    return (sum(map(prod, operation.inputs)) + prod(operation.output)) * _VALUE_BYTES[operation.numbers]


def moved_bytes(operation: Operation) -> int:
    """Values of an operation with weights. Others stand between those, and find their values where these left them."""
    return value_bytes(operation) if weight_bytes(operation) else 0


def far_share(operations: Iterable[Operation]) -> float:
    """Which share of its weights and values a network finds far: none where the cache holds it, all from twice the cache on.

    It goes through all weights, and the memory of its values, which they share.
    """
    every = list(operations)
    size = sum(map(weight_bytes, every)) + max(map(value_bytes, every), default=0)
    return min(max(size / CACHE_BYTES - 1, 0.0), 1.0)


def far_us_per_kb(references: Sequence[Reference]) -> tuple[float, float]:
    """Of weights and of values, by non-negative least squares on the relative error of whole networks (Lawson and Hanson 1974)."""
    from scipy.optimize import nnls

    left = [max(1 - sum(times * us for _, times, us in r.rows) / r.whole_us, 0.0) for r in references]
    sizes = [[_kb(r, weight_bytes), _kb(r, moved_bytes)] for r in references]
    found, _ = nnls(np.array(sizes), np.array(left))
    return float(found[0]), float(found[1])


def _kb(r: Reference, size: Callable[[Operation], int]) -> float:
    """Far KB for each microsecond of the whole."""
    return far_share(o for o, _, _ in r.rows) * sum(times * size(o) for o, times, _ in r.rows) / 1e3 / r.whole_us


def reference_files(format: Format, numbers: Numbers) -> dict[str, bytes]:
    """Networks larger than the cache, of operations that it holds, by name; random weights, the same bytes each time."""
    c, side = (256, 28) if numbers == "int8" else (128, 20)
    nets: dict[str, tuple[list[nn.Module], tuple[int, ...]]] = {
        "wide": ([nn.Conv2d(c, c, 3, padding=1) for _ in range(8)], (c, 7, 7)),
        "points": ([nn.Conv2d(2 * c, 2 * c, 1) for _ in range(16)], (2 * c, 7, 7)),
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
