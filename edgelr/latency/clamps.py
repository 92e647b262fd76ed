"""What it costs to clamp a convolution's output: nothing in most kernels, which do it while they write.

ONNX Runtime goes over a float output once more for ReLU6, and not for ReLU (docs/benchmarks/clamps.md). So a table may have rows of an
operation with and without it, and what these are apart holds for each number of any output.
"""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from statistics import median

from edgelr.latency.grid_weighted import convolution
from edgelr.latency.operation import Operation
from edgelr.latency.table import Row

_CLAMPING = ("relu6", "relu_n1_to_1", "clip")


def clamped(operation: Operation) -> bool:
    """Whether it is a float convolution that ends in bounds on both sides."""
    return operation.op in ("conv", "depthwise", "conv_transpose") and operation.numbers == "float" and operation.activation in _CLAMPING


def clamps() -> tuple[Operation, ...]:
    """Operations for a table of ONNX Runtime, beside the general ones: each with and without bounds."""
    plain = [convolution("onnx", "float", (1, 1), (1, 1), 40, 16, 144), convolution("onnx", "float", (1, 1), (1, 1), 14, 32, 192),
             convolution("onnx", "float", (3, 3), (2, 2), 56, 3, 32), convolution("onnx", "float", (3, 3), (1, 1), 40, 144, 144, 144),
             convolution("onnx", "float", (3, 3), (1, 1), 20, 192, 192, 192)]  # fmt: skip
    return tuple(o for operation in plain for o in (operation, replace(operation, activation="relu6")))


def clamp_us(rows: Mapping[Operation, Row]) -> float:
    """Microseconds for each number of an output: the median over rows that stand there without bounds too, 0 where none does."""
    pairs = [(row, rows.get(replace(operation, activation="none"))) for operation, row in rows.items() if clamped(operation)]
    apart = [(row.us - plain.us) / prod(plain.operation.output) for row, plain in pairs if plain is not None]
    return max(median(apart), 0.0) if apart else 0.0
