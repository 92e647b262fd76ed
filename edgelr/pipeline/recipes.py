"""How a plan's network is trained: before it is factorised, and after. Each part takes a network and gives one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

import torch
from torch import Tensor, nn

from edgelr.factorize import rebuild
from edgelr.models import live, settled
from edgelr.pipeline.candidates import Factors
from edgelr.pipeline.source import Source, inspect
from edgelr.ranks import Base, Limits, Table
from edgelr.training import (
    PLAIN,
    Batch,
    Batches,
    Bsr,
    BsrSettings,
    LcSettings,
    LearningCompression,
    Lrpet,
    LrpetSettings,
    Method,
    Progress,
    RankTuning,
    Schedule,
    matrices,
    recalibrate,
    train,
)
from edgelr.vocabulary import Plan, Scheme

RecipeName = Literal["finetune", "bsr", "lc", "lrpet", "rank-tuning"]
RECALIBRATION = 16  # batches that batch-norm statistics are of
Tell = Callable[[Progress], None]
LossOf = Callable[[nn.Module], Callable[[Batch], Tensor]]


@dataclass(frozen=True)
class Recipe:
    """``before``: the share of all epochs in which the whole network is trained towards its ranks; the factors get the rest.

    ``rate`` is the peak learning rate of SGD with Nesterov's momentum, ``rate_before`` that of the whole network.
    """

    name: RecipeName = "finetune"
    before: float = 0.5
    rate: float = 0.02
    rate_before: float = 0.01
    weight_decay: float = 5e-4
    bsr: BsrSettings = field(default_factory=BsrSettings)
    lc: LcSettings = field(default_factory=LcSettings)
    lrpet: LrpetSettings = field(default_factory=LrpetSettings)

    def epochs_before(self, epochs: int) -> int:
        """Of ``epochs`` in all, those of the whole network: at least 1 of each part where there are 2 or more."""
        return 0 if self.name == "finetune" else min(epochs, max(1, round(self.before * epochs)))


@dataclass(frozen=True)
class Rows:
    """What learning-compression chooses ranks from: the search's candidates with their prices, and the limits."""

    table: Table
    limits: Limits
    base: Base


def trained_whole(
    source: Source, plan: Plan, recipe: Recipe, batches: Batches, epochs: int, loss: LossOf, rows: Rows | None = None,
    tell: Tell = lambda progress: None,
) -> tuple[Source, Plan]:
    """The source with the weights of full-rank training towards ``plan``, and the plan that training leaves: LC's is its own.

    Batch-norm statistics are those of the trained (for lc and lrpet: projected) weights. Raises EdgelrError where training diverges.
    """
    net = copy.deepcopy(source.plain)
    method = method_of(net, source, plan, recipe, batches, rows)
    fit(net, loss, batches, Schedule(epochs, "sgd", weight_decay=recipe.weight_decay, nesterov=True), recipe.rate_before, method, tell)
    recalibrate(net, islice(batches.epoch(epochs), RECALIBRATION))
    chosen = method.plan if isinstance(method, LearningCompression) else plan
    return inspect(source.name, net, source.shape), chosen


def method_of(net: nn.Module, source: Source, plan: Plan, recipe: Recipe, batches: Batches, rows: Rows | None) -> Method:
    """The method that trains ``net``, the source's copy, towards the plan."""
    if recipe.name == "lc":
        assert rows is not None
        return LearningCompression(net, rows.table, rows.limits, rows.base, recipe.lc)
    aims = matrices(net, plan)
    if recipe.name == "bsr":
        return Bsr(aims, recipe.bsr)
    if recipe.name == "rank-tuning":
        return RankTuning(aims)
    norms = {layer: net.get_submodule(norm) for layer, norm in source.norms.items()}
    return Lrpet(aims, norms, recipe.lrpet)


def factorised(
    source: Source, plan: Plan, calibration: Callable[[], Sequence[Tensor]], schemes: Sequence[Scheme]
) -> tuple[nn.Module, Factors]:
    """The source, batch norm folded, with the plan's layers factorised: aware of the calibration inputs. And its factors."""
    factors = Factors(source)
    chosen = [layer for layer in source.layers if layer.name in plan.factorised()]
    factors.prepare(chosen, [s for s in schemes if any(c.scheme == s for c in plan.factorised().values())], calibration)
    return rebuild(source.folded, plan, factors.decompositions), factors


def tuned(
    folded: nn.Module, source: Source, recipe: Recipe, batches: Batches, epochs: int, loss: LossOf, tell: Tell = lambda progress: None
) -> nn.Module:
    """A factorised network after fine-tuning with its batch norms alive; folded again."""
    norms = {layer: source.plain.get_submodule(norm) for layer, norm in source.norms.items()}
    net = live(folded, norms)
    fit(net, loss, batches, Schedule(epochs, "sgd", weight_decay=recipe.weight_decay, nesterov=True), recipe.rate, PLAIN, tell)
    return settled(net, norms)


def fit(
    net: nn.Module, loss: LossOf, batches: Batches, schedule: Schedule, rate: float, method: Method, tell: Tell
) -> None:
    """Train all parameters of ``net`` in place; it ends in eval mode."""
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    net.requires_grad_(True).train()
    train([(rate, list(net.parameters()))], loss(net), batches, schedule, tell, method=method)
    net.eval()


def first_batches(batches: Iterable[Batch], count: int) -> list[Tensor]:
    return [x for x, _ in islice(batches, count)]
