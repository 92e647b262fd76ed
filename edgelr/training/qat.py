"""Quantisation-aware fine-tuning: trains the graph that is written, on the grid that it is written on."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from math import prod, sqrt

import numpy as np
import torch
from torch import Tensor

from edgelr.graph import Graph, Node, Op
from edgelr.graph.arithmetic import quantize_weights
from edgelr.graph.ops import Add, Mul, Weighted
from edgelr.quantization import Quantized
from edgelr.quantization.calibrate import COARSEST_UNIT
from edgelr.quantization.grids import SMALLEST_SCALE
from edgelr.quantization.ties import stored_once
from edgelr.training.batches import Batch, Batches
from edgelr.training.distill import Outputs, Teacher, distillation, outputs_of
from edgelr.training.fake_run import FakeQuantized
from edgelr.training.loop import train
from edgelr.training.progress import Progress
from edgelr.training.rates import Trial, probed_rate
from edgelr.training.schedule import Schedule
from edgelr.vocabulary import Grid

SCALE_RATE = 0.01
LEAST_LOSS = 1e-4  # below which rates fall no further
PROBES = 4  # batches that tell how far the network is from its teacher


@dataclass(frozen=True)
class QatSettings:
    """``weight_rate``: by how many steps of its grid a weight or bias moves in a training step, at most (None: ``suitable_rate``);
    ``scale_rate``: by which share a scale does. The weights' rate holds for a network far from its teacher, of a loss of 1 or more; it
    falls with the root of the loss that training begins at, because a network that is near needs small steps to get nearer, and large
    ones would first undo it.
    ``temperature`` of the distillation; ``labels``: the weight of the cross entropy to the labels, beside it. ``outputs``: what the
    network's outputs are (None: as ``outputs_of`` tells).
    """

    schedule: Schedule = field(default_factory=lambda: Schedule(epochs=5))
    weight_rate: float | None = None
    scale_rate: float = SCALE_RATE
    temperature: float = 1.0
    labels: float = 0.0
    outputs: Outputs | None = None


def qat(
    q: Quantized,
    teacher: Teacher,
    batches: Batches,
    settings: QatSettings | None = None,
    tell: Callable[[Progress], None] = lambda progress: None,
) -> Quantized:
    """Fine-tune a calibrated network on its grid: learnt step sizes (LSQ), distillation from ``teacher``. ``q`` stays as it is.

    The result's grids and integer weights are the trained ones, and its graph holds the trained float weights. It is that of the last
    step: nothing is selected. Raises EdgelrError where training diverges.
    """
    settings = settings or QatSettings()
    rate = suitable_rate(q, teacher, batches, settings) if settings.weight_rate is None else settings.weight_rate
    fake, (loss, groups, after_step) = _start(q, teacher, batches, settings)(rate)
    train(groups, loss, batches, settings.schedule, tell, after_step)
    return trained(fake)


def suitable_rate(q: Quantized, teacher: Teacher, batches: Batches, settings: QatSettings) -> float:
    """The weights' rate that short trials on training batches choose (``rates.probed_rate``)."""
    start = _start(q, teacher, batches, settings)
    return probed_rate(lambda rate: start(rate)[1], batches, settings.schedule)


def _start(q: Quantized, teacher: Teacher, batches: Batches, settings: QatSettings) -> Callable[[float], tuple[FakeQuantized, Trial]]:
    """What begins a training of the weights' rate that it is given."""
    outputs = settings.outputs or outputs_of(q.graph)

    def loss_of(fake: FakeQuantized) -> Callable[[Batch], Tensor]:
        return distillation(fake, teacher, outputs, settings.temperature, settings.labels)

    with torch.no_grad():
        before = loss_of(FakeQuantized(q))
        probes = [float(before(batch)) for batch in islice(batches.epoch(0), PROBES)]
    distance = sqrt(min(1.0, max(LEAST_LOSS, sum(probes) / len(probes))))

    def start(rate: float) -> tuple[FakeQuantized, Trial]:
        fake = FakeQuantized(q)
        return fake, (loss_of(fake), [(rate * distance, fake.weights()), (settings.scale_rate, fake.scales())], fake.keep_bounds)

    return start


def trained(fake: FakeQuantized) -> Quantized:
    """The fake-quantised network as it stands, in integers."""
    q = fake.q
    with torch.no_grad():
        grids = {v: replace(grid, scale=float(fake.scale(v))) for v, grid in q.grids.items()}
        scales = {name: w.scale for name, w in fake.on_grid().items()}
        graph = q.graph.with_ops({name: _as_written(w.op, q.graph.node(name).op) for name, w in fake.learnt.items()})
        grids = _floored(graph, grids, scales, fake.groups)
        weights = {}
        for node in graph.nodes:
            if node.name in q.weights and isinstance(node.op, Weighted):
                op, scale = node.op, scales.get(node.name)
                if scale is None:  # dynamic: by the rule of calibration
                    weights[node.name] = quantize_weights(op.weight, torch.zeros_like(op.bias), 1.0, fake.weight_max)
                else:
                    weights[node.name] = quantize_weights(op.weight, op.bias, grids[node.inputs[0]].scale, fake.weight_max, scale)
    return Quantized(graph, grids, stored_once(graph, weights), q.kept)


def _as_written(op: Op, was: Op) -> Op:
    """A trained operation with the clamp that the fake-quantised run left to the grid."""
    return replace(op, clamp=was.clamp) if isinstance(op, Weighted) else op  # type: ignore[type-var]


def _floored(graph: Graph, grids: Mapping[str, Grid], scales: Mapping[str, Tensor], groups: Mapping[str, str]) -> dict[str, Grid]:
    """No output's step finer than its inputs tell: the floor of calibration (``quantization.calibrate``), by the trained scales."""
    floored = dict(grids)
    for node in graph.nodes:
        least = _least_scale(node, floored, scales)
        if node.name in floored and floored[node.name].scale < least:
            floored |= {v: replace(g, scale=least) for v, g in floored.items() if groups[v] == groups[node.name]}
    return floored


def _least_scale(node: Node, grids: Mapping[str, Grid], scales: Mapping[str, Tensor]) -> float:
    weighted = node.name in scales
    fixed = node.op.tied or node.op.fixed is not None
    if fixed or not (weighted or isinstance(node.op, Add | Mul)) or not all(v in grids for v in (*node.inputs, node.name)):
        return 0.0
    inputs = [grids[i].scale for i in node.inputs]
    unit = inputs[0] * float(scales[node.name].max()) if weighted else prod(inputs) if isinstance(node.op, Mul) else max(inputs)
    return float(np.float32(max(unit / COARSEST_UNIT, SMALLEST_SCALE)))
