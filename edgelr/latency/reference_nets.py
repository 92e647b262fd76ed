"""Networks that a device is measured by: some larger than its caches, and a small one that tells its pace. Weights are random, the same
bytes each time.
"""
from __future__ import annotations

from functools import lru_cache

import torch
from torch import nn

from edgelr.export import onnx_bytes, tflite_bytes
from edgelr.graph import capture
from edgelr.quantization import quantize
from edgelr.vocabulary import Format, Kept, Numbers

_RANGE = (-4.0, 4.0)  # latency doesn't depend on the scales


def reference_files(format: Format, numbers: Numbers) -> dict[str, bytes]:
    """Networks of 1, 4, 16 and 38 MB of weights in layers of 0.15 to 9 MB, of 16 and 42 MB in matrix-vector products, and one of large
    values.

    They compute little for each weight and value, so that what these cost is a good part of their time, and take a few ms: a busy device
    leaves longer ones no calm call.
    """
    c, few, side = (256, 4, 108) if numbers == "int8" else (128, 7, 54)
    nets: dict[str, tuple[list[nn.Module], tuple[int, ...]]] = {
        "small": (_squares(7, c // 2), (c // 2, few, few)),
        "middle": (_squares(7, c), (c, few, few)),
        "many": (_squares(28, c), (c, 4, 4)),
        "wide": (_squares(7, 2 * c), (2 * c, 4, 4)),
        "points": (_points(16, 4 * c), (4 * c, 4, 4)),
        "huge": (_squares(16, 2 * c), (2 * c, 4, 4)),
        "vast": (_squares(4, 4 * c), (4 * c, 4, 4)),
        "lines": (_points(16, 4 * c), (4 * c, 1, 1)),
        "long lines": (_points(10, 8 * c), (8 * c, 1, 1)),
        "tall": ([layer for _ in range(2) for layer in _bottleneck(16, 96)], (16, side, side)),
    }
    return {name: _written(nn.Sequential(*layers), shape, format, numbers) for name, (layers, shape) in nets.items()}


@lru_cache
def pace_file(format: Format) -> bytes:
    """A float network of 0.1 ms on an x86-64 core, convolutions of each kind among them; it stays in the second cache."""
    layers = [nn.Conv2d(8, 32, 3, padding=1), nn.ReLU(), *_bottleneck(32, 48), nn.Conv2d(32, 32, 3, padding=1)]
    return _written(nn.Sequential(*layers), (8, 14, 14), format, "float")


def _squares(count: int, c: int) -> list[nn.Module]:
    return [nn.Conv2d(c, c, 3, padding=1) for _ in range(count)]


def _points(count: int, c: int) -> list[nn.Module]:
    return [nn.Conv2d(c, c, 1) for _ in range(count)]


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
