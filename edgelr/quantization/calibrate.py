"""From a float graph and calibration batches to the graph on the integer grid."""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from torch import Tensor

from edgelr.errors import BadInputError
from edgelr.graph import Graph, IntegerWeights, Node, run
from edgelr.graph.ops import Add, Conv, Linear, Mul
from edgelr.quantization.grids import SMALLEST_SCALE, Range, assign, separated, tied_groups
from edgelr.quantization.observers import OBSERVERS, Method
from edgelr.vocabulary import Grid

WEIGHT_MAX = 127  # symmetric: -128 is never used, so that negation and both runtimes' fast paths hold
COARSEST_UNIT = 128  # output steps in one unit of the accumulator
BIAS_MAX = 2**30  # half of int32, which leaves the other half to the products


@dataclass(frozen=True)
class Quantized:
    """A graph with a grid for every value and integer weights for every weighted operation."""

    graph: Graph
    grids: Mapping[str, Grid]
    weights: Mapping[str, IntegerWeights]


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


def quantize_weights(weight: Tensor, bias: Tensor, input_scale: float) -> IntegerWeights:
    """Per output channel, symmetric in [-127, 127]; bias int32 at input_scale * scale.

    A channel whose bias would not fit into int32 gets a larger scale: coarser weights there beat an overflow.
    """
    scale = _weight_scales(weight, bias, input_scale)
    shape = (-1, *(1,) * (weight.dim() - 1))
    q = torch.round(weight.detach().float() / scale.view(shape)).clamp_(-WEIGHT_MAX, WEIGHT_MAX).to(torch.int8)
    bias_scale = (torch.tensor(input_scale, dtype=torch.float32) * scale).double()
    return IntegerWeights(q, scale, torch.round(bias.detach().double() / bias_scale).clamp_(-BIAS_MAX, BIAS_MAX).to(torch.int32))


def _weight_scales(weight: Tensor, bias: Tensor, input_scale: float) -> Tensor:
    largest = weight.detach().abs().flatten(1).amax(1).double()
    room = bias.detach().double().abs() / (input_scale * BIAS_MAX)
    return torch.maximum(torch.maximum(largest / WEIGHT_MAX, room), torch.tensor(1e-12, dtype=torch.float64)).float()


def quantize(graph: Graph, ranges: Mapping[str, Range]) -> Quantized:
    """Put a graph on the grid. ``ranges`` are ``observe``'s of the same graph."""
    ready = separated(graph)
    known = dict(ranges)
    for node in ready.nodes:  # a Requantize that separation put in sees what its input sees
        if node.name not in known:
            known[node.name] = known[node.inputs[0]]
    grids, groups = assign(ready, known), tied_groups(ready)
    for node in ready.nodes:
        least = _least_scale(node, grids)
        if grids[node.name].scale < least:
            grids |= {v: Grid(float(np.float32(least)), grids[v].zero_point) for v in grids if groups[v] == groups[node.name]}
    weights = {n.name: quantize_weights(n.op.weight, n.op.bias, grids[n.inputs[0]].scale)
               for n in ready.nodes if isinstance(n.op, Conv | Linear)}
    return Quantized(ready, grids, weights)


def _least_scale(node: Node, grids: Mapping[str, Grid]) -> float:
    """The output scale below which a step of the result is finer than anything its inputs tell.

    LiteRT does not load a file with a convolution whose accumulator's unit is 256 output steps or more, and an addition of such a
    ratio ends the process at 2^19 (measured, ai-edge-litert 2.3.0, x86-64). A ReLU that lets next to nothing pass gives such scales;
    a value that is 0 throughout may as well have the accumulator's unit.
    """
    if node.op.tied or node.op.fixed is not None:
        return 0.0
    scales = [grids[i].scale for i in node.inputs]
    if isinstance(node.op, Conv | Linear):
        unit = scales[0] * float(_weight_scales(node.op.weight, node.op.bias, scales[0]).max())
    else:
        unit = prod(scales) if isinstance(node.op, Mul) else max(scales)
    if grids[node.name].scale <= SMALLEST_SCALE:
        return unit
    return unit / COARSEST_UNIT if isinstance(node.op, Conv | Linear | Add | Mul) else 0.0


def calibrate(graph: Graph, batches: Iterable[Tensor], method: Method = "minmax") -> Quantized:
    """``observe``, then ``quantize``."""
    return quantize(graph, observe(graph, batches, method))
