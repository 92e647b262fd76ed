"""Writing: a graph on the grid as bytes of each format, and how many bytes each choice takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from edgelr.export import onnx_bytes, tflite_bytes
from edgelr.graph import Graph
from edgelr.graph.splice import spliced
from edgelr.pipeline.candidates import Factors
from edgelr.pipeline.precision import Precision
from edgelr.quantization import Quantized
from edgelr.vocabulary import Format, Plan

WRITERS: dict[Format, Callable[[Quantized], bytes]] = {"tflite": tflite_bytes, "onnx": onnx_bytes}
ANY_RANGE = 4.0  # neither latency nor size depends on the scales, but for equal ones being stored once
GOLDEN = 0.6180339887498949


def write(quantized: Mapping[Format, Quantized]) -> dict[Format, bytes]:
    """The files' bytes by format."""
    return {f: WRITERS[f](q) for f, q in quantized.items()}


def draft(graph: Graph, formats: Sequence[Format], precision: Precision, *, apart: bool = False) -> dict[Format, bytes]:
    """Files of the right shape with made-up scales: same bytes and same latency as the calibrated ones, at once.

    ``apart`` gives each value a grid of its own, as calibration does: where operations have weights in common, what they don't have in
    common (scales of biases) must not be equal by chance.
    """
    ends = {value: ANY_RANGE * (1 + i / 1024 * apart) for i, value in enumerate(graph.shapes)}
    ranges = {value: (-end * (0.5 + i * GOLDEN % 1 if apart else 1.0), end) for i, (value, end) in enumerate(ends.items())}
    return write(precision.quantized(graph, ranges, formats))


def planned(graph: Graph, plan: Plan, factors: Factors) -> Graph:
    """The graph with a plan's factorised layers put in; a plan may name groups of layers."""
    layers = factors.grouped.expanded(plan).factorised()
    return spliced(graph, {name: factors.halves(name, choice) for name, choice in layers.items()})
