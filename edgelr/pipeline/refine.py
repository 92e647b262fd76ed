"""What happens to the chosen network before it is judged: training on the grid, and going back to float where int8 costs too much."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from edgelr.data import Data
from edgelr.graph import run
from edgelr.pipeline.files import write
from edgelr.pipeline.finetune import Trained, finetuned
from edgelr.pipeline.job import Job
from edgelr.pipeline.log import Log
from edgelr.pipeline.metrics import metric_of
from edgelr.pipeline.precision import Precision
from edgelr.pipeline.produce import Product
from edgelr.pipeline.reverting import Reverted, reverted
from edgelr.pipeline.settings import Settings
from edgelr.pipeline.source import BATCH, Source, gathered
from edgelr.quantization import Quantized, simulate
from edgelr.quantization.sensitivity import sensitivities
from edgelr.vocabulary import Format

SENSITIVITY_MACS = 3e11  # all values of these samples are held, and each operation runs what lies behind it: half the network on average
SENSITIVITY_SAMPLES = (4, 64)
DROP_MACS = 2e12  # the integer run of one bound on the loss


@dataclass(frozen=True)
class Refined:
    """What became of the network after it was chosen; ``sqnr_db`` is each operation's own, on ``samples`` held-out samples."""

    trained: Trained | None
    reverted: tuple[Reverted, ...]
    sqnr_db: Mapping[str, float]
    samples: int


def refine(job: Job, product: Product, precision: Precision) -> tuple[Product, Refined]:
    """Train and revert as the settings ask, and find out what each operation's step to integers costs."""
    settings, source, data, log = job.settings, job.source, job.data, job.log
    trained: Trained | None = None
    if settings.qat:
        with log.stage("train"):
            product, trained = finetuned(product, source, data, settings, log)
    taken: tuple[Reverted, ...] = ()
    sqnr_db, samples = dict[str, float](), 0
    if settings.via == "direct":
        with log.stage("sensitivity"):
            log.say("measuring what each operation's step to integers costs")
            sqnr_db, samples = network_sensitivities(product, data, source.macs)
            if settings.max_drop is not None:
                product, taken = within_drop(product, precision, source, data, sqnr_db, settings, log)
    return product, Refined(trained, taken, sqnr_db, samples)


def network_sensitivities(product: Product, data: Data, macs: int | None) -> tuple[dict[str, float], int]:
    """Each operation's own SQNR on held-out samples, and how many samples; of the format with the most operations on integers."""
    q = most_integers(product)
    nodes = max(1, len(q.graph.nodes))
    count = int(SENSITIVITY_MACS / (nodes * max(1, macs or 1) / 2))
    split = data.validation or data.calibration
    assert split is not None
    x, _ = gathered(split, max(SENSITIVITY_SAMPLES[0], min(SENSITIVITY_SAMPLES[1], count)))
    return sensitivities(q, x), len(x)


def most_integers(product: Product) -> Quantized:
    return min(product.quantized.values(), key=lambda q: len(q.kept))


def within_drop(
    product: Product, precision: Precision, source: Source, data: Data, sqnr_db: Mapping[str, float], settings: Settings, log: Log
) -> tuple[Product, tuple[Reverted, ...]]:
    """The product with as much in float as ``--max-drop`` asks for, by the integer run on held-out samples (never the test part)."""
    assert settings.max_drop is not None
    split = data.validation or data.calibration
    assert split is not None
    x, y = gathered(split, max(64, min(settings.score_samples, int(DROP_MACS / (6 * max(1, source.macs or 1))))))
    metric = metric_of(settings.metric, split)
    labels = None if y is None else y.numpy()
    with torch.no_grad():
        reference = torch.cat([run(source.graph, b) for b in torch.split(x, BATCH)]).numpy()
    full = metric.function(reference, labels, reference)

    def quantized(names: tuple[str, ...]) -> dict[Format, Quantized]:
        own = replace(precision, reverted=names)
        return {f: carried(product.quantized[f], q) for f, q in own.quantized(product.graph, product.ranges, settings.formats).items()}

    def drop(names: tuple[str, ...]) -> float:
        made = {id(q): q for q in quantized(names).values()}
        outputs = [torch.cat([simulate(q, b) for b in torch.split(x, BATCH)]).numpy() for q in made.values()]
        return 100 * max(full - metric.function(o, labels, reference) for o in outputs)

    taken = reverted(sqnr_db, drop, settings.max_drop)
    log.say(f"--max-drop {settings.max_drop:g}: {len(taken)} operations back to float")
    if not taken:
        return product, taken
    made = quantized(tuple(t.name for t in taken))
    return replace(product, quantized=made, files=write(made)), taken


def carried(trained: Quantized, q: Quantized) -> Quantized:
    """``q`` with the grids and weights of ``trained`` wherever both have them: what was trained stays as it was trained."""
    grids = {v: trained.grids.get(v, grid) for v, grid in q.grids.items()}
    inputs = {n.name: n.inputs for n in q.graph.nodes}
    weights = {}
    for name, own in q.weights.items():
        same = name in trained.weights and q.numbers(name) == trained.numbers(name) and all(i in trained.grids for i in inputs[name])
        weights[name] = trained.weights[name] if same else own
    return replace(q, grids=grids, weights=weights)
