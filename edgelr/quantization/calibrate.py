"""From a float graph and calibration batches to the graph on the integer grid."""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import prod

import numpy as np
import torch
from torch import Tensor

from edgelr.errors import BadInputError
from edgelr.graph import Graph, IntegerWeights, Node, run
from edgelr.graph.arithmetic import WEIGHT_MAX, quantize_weights, weight_scales
from edgelr.graph.mixed import mixed, necessary
from edgelr.graph.ops import Add, Bilinear, Mul, Weighted
from edgelr.graph.recurrent import layers
from edgelr.quantization.grids import SMALLEST_SCALE, Range, assign, separated, tied_groups
from edgelr.quantization.observers import OBSERVERS, Method
from edgelr.quantization.ties import stored_once
from edgelr.vocabulary import Grid, Kept, Numbers

COARSEST_UNIT = 128  # output steps in one unit of the accumulator


@dataclass(frozen=True)
class Quantized:
    """A graph with a grid for each value that is not in float, and integer weights for each weighted operation that computes on integers.

    ``kept`` are the operations that don't, and why; the boundaries between the two are nodes of the graph.
    """

    graph: Graph
    grids: Mapping[str, Grid]
    weights: Mapping[str, IntegerWeights]
    kept: Mapping[str, Kept] = field(default_factory=dict)

    def numbers(self, node: str) -> Numbers:
        """How a node computes."""
        return self.kept[node].numbers if node in self.kept else "int8"


def observe(graph: Graph, batches: Iterable[Tensor], method: Method = "minmax") -> dict[str, Range]:
    """The range of every value over the batches, streaming: memory is one batch and a histogram for each value.

    Raises BadInputError where a value is not finite, naming the operation that made it.
    """
    observers = {value: OBSERVERS[method]() for value in graph.shapes}
    seen = 0
    with torch.no_grad():
        for batch in batches:
            run(graph, batch, lambda value, x: observers[value].update(x))
            seen += len(batch)
    if not seen:
        raise BadInputError("there is no calibration sample", "the calibration data are empty", "give data with at least one sample")
    ranges = {value: observer.range() for value, observer in observers.items()}
    for value, (low, high) in ranges.items():
        if not (abs(low) < float("inf") and abs(high) < float("inf")):
            raise BadInputError(f"{value}: the network's values are not finite on the calibration data", f"range {low} to {high}",
                                "check the inputs' scale and the weights")
    return ranges


def quantize(graph: Graph, ranges: Mapping[str, Range], kept: Mapping[str, Kept] | None = None, weight_max: int = WEIGHT_MAX) -> Quantized:
    """Put a graph on the grid. ``ranges`` are ``observe``'s of the same graph.

    ``kept`` says what doesn't compute on integers (None: only what no runtime can). ``weight_max`` bounds the integer weights: 63 for
    x86 processors without VNNI, whose kernels add two products in 16 bits.
    """
    recurrent = {name: replace(op, widest=weight_max) for name, op in layers(graph).items()}
    split, kept, floats = mixed(graph.with_ops(recurrent), necessary(graph) if kept is None else kept)
    ready = separated(split, floats)
    known = dict(ranges)
    for node in ready.nodes:  # a boundary, or a Requantize that separation put in, sees what its input sees
        if node.name not in known:
            known[node.name] = known[node.inputs[0] if node.inputs[0] in known else node.name.removesuffix("/unbounded")]
    grids, groups = assign(ready, known, floats), tied_groups(ready, floats)
    for node in ready.nodes:
        if isinstance(node.op, Bilinear) and node.name in grids and grids[node.name] == grids[node.inputs[0]]:
            # on one grid ONNX Runtime interpolates otherwise: the output gets the next scale
            larger = float(np.nextafter(np.float32(grids[node.name].scale), np.float32(np.inf)))
            grids |= {v: Grid(larger, g.zero_point) for v, g in grids.items() if groups[v] == groups[node.name]}
        least = _least_scale(node, grids, weight_max)
        if node.name in grids and grids[node.name].scale < least:
            grids |= {v: Grid(float(np.float32(least)), grids[v].zero_point) for v in grids if groups[v] == groups[node.name]}
    weights = {}
    for node in ready.nodes:
        if isinstance(node.op, Weighted) and node.name not in kept:
            weights[node.name] = quantize_weights(node.op.weight, node.op.bias, grids[node.inputs[0]].scale, weight_max)
        elif isinstance(node.op, Weighted) and kept[node.name].numbers == "dynamic":
            weights[node.name] = quantize_weights(node.op.weight, torch.zeros_like(node.op.bias), 1.0, weight_max)
    return Quantized(ready, grids, stored_once(ready, weights), kept)


def _least_scale(node: Node, grids: Mapping[str, Grid], weight_max: int) -> float:
    """The output scale below which a step of the result is finer than anything its inputs tell.

    LiteRT does not load a file with a convolution whose accumulator's unit is 256 output steps or more, and an addition of such a
    ratio ends the process at 2^19 (measured, ai-edge-litert 2.3.0, x86-64). A ReLU that lets next to nothing pass gives such scales;
    a value that is 0 throughout may as well have the accumulator's unit.
    """
    if node.op.tied or node.op.fixed is not None or not all(v in grids for v in (*node.inputs, node.name)):
        return 0.0
    scales = [grids[i].scale for i in node.inputs]
    if isinstance(node.op, Weighted):
        unit = scales[0] * float(weight_scales(node.op.weight, node.op.bias, scales[0], weight_max).max())
    else:
        unit = prod(scales) if isinstance(node.op, Mul) else max(scales)
    if grids[node.name].scale <= SMALLEST_SCALE:
        return unit
    return unit / COARSEST_UNIT if isinstance(node.op, Weighted | Add | Mul) else 0.0


def calibrate(graph: Graph, batches: Iterable[Tensor], method: Method = "minmax", kept: Mapping[str, Kept] | None = None) -> Quantized:
    """``observe``, then ``quantize``."""
    return quantize(graph, observe(graph, batches, method), kept)
