"""--qat: the chosen network trained on its grid, with the float source as its teacher."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from edgelr.data import Data
from edgelr.errors import UsageError
from edgelr.pipeline.files import write
from edgelr.pipeline.float_state import unplaced, with_state, with_weights
from edgelr.pipeline.log import Log
from edgelr.pipeline.produce import Product
from edgelr.pipeline.settings import Settings
from edgelr.pipeline.source import Source
from edgelr.pipeline.training.samples import batch_size, suitable_epochs
from edgelr.quantization import Quantized
from edgelr.training import Progress, QatSettings, Schedule, Shuffled, qat, suitable_rate

EPOCHS = (1, 5)
RUNS = 3  # that a step takes the time of


@dataclass(frozen=True)
class Trained:
    """What the training was: told in the report. ``losses`` are those of the first and the last word of progress."""

    epochs: int
    samples: int
    seconds: float
    losses: tuple[float, float]
    notes: tuple[str, ...] = ()


def finetuned(product: Product, source: Source, data: Data, settings: Settings, log: Log) -> tuple[Product, Trained]:
    """The product with trained scales and weights, in float, on the grid and in its files. Never sees validation or test samples."""
    if data.train is None:
        raise UsageError("there is nothing to train on", "--qat needs a train part", "add x_train to the data, or leave --qat out")
    size = batch_size(len(data.train))
    batches = Shuffled(data.train.x, data.train.y, size, settings.seed)
    asked = settings.epochs if settings.train == "none" else 0  # those of --train are its own
    epochs = asked or suitable_epochs(len(data.train), source.macs, RUNS, EPOCHS)
    losses: list[float] = []
    start = time.perf_counter()

    def tell(progress: Progress) -> None:
        losses.append(progress.loss)
        log.say(f"training: {progress}")

    log.say(f"training on the grid: {epochs} epochs of {len(data.train):,} samples in batches of {size}")
    made: dict[int, Quantized] = {}
    for q in product.quantized.values():  # one object where both formats have the same grid
        if id(q) not in made:
            log.say("training: trying learning rates")
            plain = QatSettings(Schedule(epochs))
            rate = suitable_rate(q, source.graph, batches, plain)
            log.say(f"training: weights move by up to {rate:g} steps of their grid at a time")
            made[id(q)] = qat(q, source.graph, batches, replace(plain, weight_rate=rate), tell)
    quantized = {f: made[id(q)] for f, q in product.quantized.items()}
    graph = with_weights(product.graph, next(iter(quantized.values())).graph)
    model = with_state(product.model, product.graph, graph)
    notes = []
    if left := unplaced(product.model, product.graph, graph):
        notes.append(f"model.safetensors lacks what training changed in {', '.join(left)}: no module holds those weights")
    if len(made) > 1:
        notes.append(f"files of different number forms were trained apart: model.safetensors holds .{next(iter(quantized))}'s weights")
    trained = Trained(epochs, len(data.train), time.perf_counter() - start, (losses[0], losses[-1]), tuple(notes))
    return replace(product, model=model, graph=graph, quantized=quantized, files=write(quantized)), trained
