"""--qat: the chosen network trained on its grid, with the float source as its teacher."""

from __future__ import annotations

import time
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from edgelr.data import Data
from edgelr.errors import UsageError
from edgelr.graph import Graph
from edgelr.graph.ops import Weighted
from edgelr.pipeline.files import write
from edgelr.pipeline.log import Log
from edgelr.pipeline.produce import Product
from edgelr.pipeline.settings import Settings
from edgelr.pipeline.source import Source
from edgelr.quantization import Quantized
from edgelr.training import Progress, QatSettings, Schedule, Shuffled, qat

BATCH = 64
BATCHES_MIN = 16  # of an epoch: a few samples are taken in smaller batches
TRAIN_MACS = 2e15  # what --epochs 0 spends: some hours of one core at most
EPOCHS = (1, 5)


@dataclass(frozen=True)
class Trained:
    """What the training was: told in the report. ``losses`` are those of the first and the last word of progress."""

    epochs: int
    samples: int
    seconds: float
    losses: tuple[float, float]


def finetuned(product: Product, source: Source, data: Data, settings: Settings, log: Log) -> tuple[Product, Trained]:
    """The product with trained scales and weights, in float, on the grid and in its files. Never sees validation or test samples."""
    if data.train is None:
        raise UsageError("there is nothing to train on", "--qat needs a train part", "add x_train to the data, or leave --qat out")
    size = max(1, min(BATCH, len(data.train) // BATCHES_MIN))
    batches = Shuffled(data.train.x, data.train.y, size, settings.seed)
    epochs = settings.epochs or suitable_epochs(len(data.train), source.macs)
    losses: list[float] = []
    start = time.perf_counter()

    def tell(progress: Progress) -> None:
        losses.append(progress.loss)
        log.say(f"training: {progress}")

    log.say(f"training on the grid: {epochs} epochs of {len(data.train):,} samples in batches of {size}")
    made: dict[int, Quantized] = {}
    for q in product.quantized.values():  # one object where both formats have the same grid
        if id(q) not in made:
            made[id(q)] = qat(q, source.graph, batches, QatSettings(Schedule(epochs)), tell)
    quantized = {f: made[id(q)] for f, q in product.quantized.items()}
    graph = with_weights(product.graph, next(iter(quantized.values())).graph)
    model = with_state(product.model, product.graph, graph)
    trained = Trained(epochs, len(data.train), time.perf_counter() - start, (losses[0], losses[-1]))
    return replace(product, model=model, graph=graph, quantized=quantized, files=write(quantized)), trained


def suitable_epochs(samples: int, macs: int | None) -> int:
    """As many epochs as ``TRAIN_MACS`` pay for (a training step takes some three runs), within ``EPOCHS``."""
    return max(EPOCHS[0], min(EPOCHS[1], int(TRAIN_MACS / (3 * samples * max(1, macs or 1)))))


def with_weights(graph: Graph, trained: Graph) -> Graph:
    """``graph`` with the weights of the operations that ``trained`` (the same with boundaries) has under the same names."""
    ops = {n.name: n.op for n in trained.nodes}
    ops |= {n.name.removesuffix("/unbounded"): replace(n.op, clamp=graph.node(n.name.removesuffix("/unbounded")).op.clamp)  # type: ignore[type-var]
            for n in trained.nodes if n.name.endswith("/unbounded")}  # fmt: skip
    return graph.with_ops({n.name: ops[n.name] for n in graph.nodes if n.name in ops and isinstance(n.op, Weighted)})


def with_state(model: nn.Module, before: Graph, after: Graph) -> nn.Module:
    """A copy of the float network with the trained weights. A weight that the graph holds multiplied by a number is divided by it."""
    copy = deepcopy(model)
    modules: Mapping[str, nn.Module] = dict(copy.named_modules())
    old = {n.name: n.op for n in before.nodes}
    for node in after.nodes:
        module, was = modules.get(node.name), old[node.name]
        if module is None or not isinstance(node.op, Weighted) or not isinstance(was, Weighted) or not hasattr(module, "weight"):
            continue
        weight, bias = module.weight, getattr(module, "bias", None)
        assert isinstance(weight, Tensor)
        with torch.no_grad():
            if was.weight.shape != weight.shape:
                continue
            at = int(weight.abs().argmax())
            factor = float(was.weight.flatten()[at] / weight.flatten()[at]) if float(weight.abs().max()) else 1.0
            weight.copy_(node.op.weight / factor)
            if isinstance(bias, Tensor):
                bias.copy_(node.op.bias)
    return copy
