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
    """Networks of 1, 4, 16 (two) and 38 MB of weights, and one of large values."""
    c, side = (256, 28) if numbers == "int8" else (128, 20)
    nets: dict[str, tuple[list[nn.Module], tuple[int, ...]]] = {
        "small": ([nn.Conv2d(c // 2, c // 2, 3, padding=1) for _ in range(7)], (c // 2, 7, 7)),
        "middle": ([nn.Conv2d(c, c, 3, padding=1) for _ in range(7)], (c, 7, 7)),
        "wide": ([nn.Conv2d(2 * c, 2 * c, 3, padding=1) for _ in range(7)], (2 * c, 7, 7)),
        "points": ([nn.Conv2d(4 * c, 4 * c, 1) for _ in range(16)], (4 * c, 7, 7)),
        "vast": ([nn.Conv2d(4 * c, 4 * c, 3, padding=1) for _ in range(4)], (4 * c, 4, 4)),
        "tall": ([layer for _ in range(28) for layer in _bottleneck(c // 4, 3 * c // 2)], (c // 4, side, side)),
    }
    return {name: _written(nn.Sequential(*layers), shape, format, numbers) for name, (layers, shape) in nets.items()}


@lru_cache
def pace_file(format: Format) -> bytes:
    """A float network of 0.1 ms on an x86-64 core, convolutions of each kind among them; it stays in the second cache."""
    layers = [nn.Conv2d(8, 32, 3, padding=1), nn.ReLU(), *_bottleneck(32, 48), nn.Conv2d(32, 32, 3, padding=1)]
    return _written(nn.Sequential(*layers), (8, 14, 14), format, "float")


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
