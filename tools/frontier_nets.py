"""The networks of bench_frontier.py: their data, plans at shares of bytes and latency, and a short fine-tuning of what these leave."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import papers_data
import recurrent_nets
import torch
from bench_table import tell
from papers_plans import accuracy
from torch import Tensor, nn

from edgelr.data import Data
from edgelr.errors import BudgetError
from edgelr.factorize import choice_cost, rebuild
from edgelr.graph import Graph
from edgelr.pipeline import Settings, candidates
from edgelr.pipeline.files import draft
from edgelr.pipeline.log import Log
from edgelr.pipeline.machine import machine_of, place_of
from edgelr.pipeline.precision import Precision
from edgelr.pipeline.prepare import counted_costs
from edgelr.pipeline.pricing import priced
from edgelr.pipeline.recapture import graph_of
from edgelr.pipeline.scorer import GraphScorer
from edgelr.pipeline.settings import SCHEMES
from edgelr.pipeline.source import Source, first, gathered, inspect
from edgelr.pipeline.training.recipes import fit, for_cut, suited, tuned
from edgelr.ranks import Table, additive, total
from edgelr.training import PLAIN, Batch, Batches, Progress, Schedule, Shuffled, forward_of, supervised
from edgelr.vocabulary import DENSE, Choice, Layer, Plan

STEPS, COUNT_MAX = 2, 10  # ranks for bytes are multiples of 2; those for latency are of half the machine's own steps
SCORED = 128  # held-out samples that tell what each choice does
SENSITIVITY_MACS = 1.5e11
CALIBRATION = 128
HELD = 1_000  # held-out samples that tell what a cut lost


@dataclass(frozen=True)
class Net:
    """``size`` and ``latency``: shares of the dense network's parameters, and of its latency in LiteRT, that there are plans for.

    ``images`` of an epoch of fine-tuning, ``tested`` samples of the test part.
    """

    name: str
    title: str
    size: tuple[float, ...]
    latency: tuple[float, ...]
    images: int
    epochs: int
    tested: int
    load: Callable[[Net, Path, Path], tuple[Source, Data, Batches]]

    @property
    def told(self) -> str:
        """All of it but the function: what results depend on."""
        return repr([v for v in vars(self).values() if not callable(v)])


def cifar(net: Net, shared: Path, cache: Path) -> tuple[Source, Data, Batches]:
    images = papers_data.read(shared, cache)
    source = inspect(net.name, papers_data.base(net.name, shared, cache, images), (3, 32, 32))
    return source, images.data(net.tested), papers_data.Draws(images.train, net.images)


def hapt(net: Net, shared: Path, cache: Path) -> tuple[Source, Data, Batches]:
    task = recurrent_nets.hapt()
    data, train = task.data, task.data.train
    assert data.test is not None and train is not None
    test = data.test.take(np.sort(np.random.default_rng(0).permutation(len(data.test))[: net.tested]))
    seen = train.take(np.sort(np.random.default_rng(0).permutation(len(train))[: net.images]))
    source = inspect(net.name, recurrent_nets.trained(task, 64, cache), (128, 6))
    return source, Data(train, data.validation, test, data.calibration, name="HAPT"), Shuffled(seen.x, seen.y, 64)


NETS = {
    net.name: net
    for net in (
        Net("lstm", "LSTM-64x2 on HAPT", (0.5, 0.25, 0.15), (), 2_048, 1, 1_000, hapt),
        Net("resnet20", "ResNet-20 on CIFAR-10", (0.5, 0.35, 0.25, 0.15), (0.7,), 2_560, 1, 2_000, cifar),
        Net("vgg16", "VGG-16 on CIFAR-10", (0.25, 0.1), (0.5,), 2_560, 1, 1_000, cifar),
    )
}


@dataclass
class Ready:
    """A network with what plans are made from, made once."""

    net: Net
    source: Source
    data: Data
    batches: Batches
    calibration: list[Tensor]
    factors: candidates.Factors

    @classmethod
    def of(cls, net: Net, shared: Path, cache: Path) -> Ready:
        torch.manual_seed(0)
        source, data, batches = net.load(net, shared, cache)
        assert data.calibration is not None
        return cls(net, source, data, batches, list(first(data.calibration, CALIBRATION)), candidates.Factors(source))

    def plans(self) -> Iterator[tuple[str, Plan]]:
        """The additive optimum at each share, by the budget's own words ("50%KB", "70%ms"); shares that no plan meets are left out."""
        able, _, self.factors.factors = candidates.factorisable(self.source.layers, self.source.graph, self.source.folded)
        self.factors.prepare(able, SCHEMES, lambda: self.calibration)
        split = self.data.validation
        assert split is not None
        scorer = GraphScorer(self.source.graph, *gathered(split, SCORED), self.factors.product)
        yield from self._plans(scorer, able, "KB", "params", STEPS, self.net.size)
        if self.net.latency:
            yield from self._plans(scorer, able, "ms", "us:litert", place_of("host").target.rank_steps["litert"] // 2, self.net.latency)

    def _plans(
        self, scorer: GraphScorer, able: Sequence[Layer], unit: str, cost: str, steps: int, shares: Sequence[float]
    ) -> Iterator[tuple[str, Plan]]:
        source = self.source
        options = candidates.choices(able, SCHEMES, steps, [cost], COUNT_MAX)
        moves = [(layer, choice) for layer, found in options.items() for choice in found]
        samples = max(16, min(SCORED, int(SENSITIVITY_MACS / (len(moves) * (source.macs or 1) / 2))))
        tell(f"{source.name}: what each of {len(moves)} choices does to the outputs of {samples} samples")
        effects = dict(zip(moves, scorer.divergences(moves, samples), strict=True))
        us, base = self._prices(options) if unit == "ms" else ({}, {})
        by_name = {layer.name: layer for layer in source.layers}
        base |= {"params": counted_costs(source, Plan())["params"] - sum(choice_cost(by_name[n], DENSE)[0] for n in options)}
        rows: Table = candidates.table(able, options, lambda n, c: {"us:litert": us.get((n, c), 0.0)}, lambda n, c: effects[n, c])
        whole = total(Plan(dict.fromkeys(rows, DENSE)), rows, base)[cost]
        for share in shares:
            try:
                yield f"{share:.0%}{unit}", additive(rows, {cost: share * whole}, base).plan
            except BudgetError as error:
                tell(f"{source.name} {share:.0%}{unit}: {error.what}")

    def _prices(self, options: Any) -> tuple[dict[tuple[str, Choice], float], dict[str, float]]:
        place = place_of("host")
        machine, precision = machine_of(place, ("tflite",)), Precision({}, weight_max=place.target.weight_max)
        dense = draft(self.source.graph, ("tflite",), precision)
        found = priced(self.source, options, self.factors, Settings(formats=("tflite",)), machine, precision, dense, Log(tell))["litert"]
        return dict(found.us), {"us:litert": found.base_us}

    def macs(self, plan: Plan) -> int:
        return int(counted_costs(self.source, plan)["macs"])

    def params(self, plan: Plan) -> int:
        return int(counted_costs(self.source, plan)["params"])

    def graphs(self, plan: Plan) -> Iterator[tuple[bool, Graph]]:
        """The plan's network as it is cut, and after fine-tuning: (trained, graph). The dense network is not trained on."""
        folded = rebuild(self.source.folded, plan, self.factors.decompositions)
        yield False, graph_of(folded, plan, self.source.shape)
        if plan.factorised():
            yield True, graph_of(self._tuned(folded), plan, self.source.shape)

    def _tuned(self, folded: nn.Module) -> nn.Module:
        torch.manual_seed(0)
        teacher = forward_of(self.source.folded)

        def loss_of(net: nn.Module) -> Callable[[Batch], Tensor]:
            return supervised(forward_of(net), teacher, "scores")

        def told(progress: Progress) -> None:
            tell(f"  {progress}")

        if self.source.norms:
            recipe = for_cut(suited("finetune", self.source), self._right(folded) / self._right(self.source.folded))
            return tuned(folded, self.source, recipe, self.batches, self.net.epochs, loss_of, told)
        fit(folded, loss_of, self.batches, Schedule(self.net.epochs), 1e-3, PLAIN, told)
        return folded.requires_grad_(False)

    def _right(self, net: nn.Module) -> float:
        """Accuracy on held-out samples."""
        assert self.data.validation is not None
        x, y = gathered(self.data.validation, HELD)
        with torch.no_grad():
            return accuracy(net, x.split(HELD // 4), torch.as_tensor(y).split(HELD // 4))
