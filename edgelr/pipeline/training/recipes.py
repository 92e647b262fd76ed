"""How a plan's network is trained: before it is factorised, and after. Each part takes a network and gives one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
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
    aims,
    matrices,
    recalibrate,
    train,
)
from edgelr.training.checkpoint import Checkpoint
from edgelr.training.parallel import ALONE, World
from edgelr.vocabulary import Plan

RecipeName = Literal["finetune", "bsr", "lc", "lrpet", "rank-tuning"]
RECALIBRATION = 16  # batches that batch-norm statistics are of
NEAR, NEAR_RATE = 0.75, 0.005  # a share of the score, chosen between the measured cases of docs/benchmarks/rates*.md; its rate
Tell = Callable[[Progress], None]
LossOf = Callable[[nn.Module], Callable[[Batch], Tensor]]


@dataclass(frozen=True)
class Recipe:
    """``before``: the share of all epochs in which the whole network is trained towards its ranks; the factors get the rest.

    ``rate`` is the peak learning rate, ``rate_before`` that of the whole network; "sgd" has Nesterov's momentum.
    """

    name: RecipeName = "finetune"
    before: float = 0.5
    rate: float = 0.015
    rate_before: float = 0.015
    weight_decay: float = 5e-4
    optimizer: Literal["sgd", "adamw"] = "sgd"
    bsr: BsrSettings = field(default_factory=BsrSettings)
    lc: LcSettings = field(default_factory=LcSettings)
    lrpet: LrpetSettings = field(default_factory=LrpetSettings)

    def epochs_before(self, epochs: int) -> int:
        """Of ``epochs`` in all, those of the whole network: at least 1 of each part where there are 2 or more."""
        return 0 if self.name == "finetune" else min(epochs, max(1, round(self.before * epochs)))

    def schedule(self, epochs: int) -> Schedule:
        return Schedule(epochs, self.optimizer, weight_decay=self.weight_decay, nesterov=self.optimizer == "sgd")


def suited(name: RecipeName, source: Source) -> Recipe:
    """The recipe with what suits the kind of network. Rates of networks with batch norm: docs/benchmarks/rates.md.

    Networks without batch norm don't bear SGD's rates. Digits, cut to a tenth of full rank, 4 epochs, one seed: an LSTM (cut 82 %) gets to
    95 to 96 % at SGD's 0.01, to 8 % at 0.1, and to 96 to 97 % at AdamW's 0.003.
    """
    if not source.norms:
        return Recipe(name, rate=0.003, rate_before=0.001, weight_decay=0.0, optimizer="adamw")
    return Recipe(name, rate_before={"bsr": 0.05, "lc": 0.05, "lrpet": 0.03}.get(name, 0.015))


def for_cut(recipe: Recipe, kept: float) -> Recipe:
    """The recipe with the rate that suits factors which keep this share of the source's score when they are cut, before fine-tuning.

    A network that lost little is near its best, and a large rate drives it away from there: ResNet-20 cut to 40 % of its MACs gets from
    83.8 to 85.4 % in 3 epochs at 0.005, to 84.3 % at 0.015. One that lost much needs to move: docs/benchmarks/rates.md, rates-resnet20.md.
    """
    if recipe.optimizer != "sgd" or kept < NEAR:
        return recipe
    return replace(recipe, rate=NEAR_RATE)


@dataclass(frozen=True)
class Running:
    """What a training is run with: what is drawn is by ``seed``; kept in ``checkpoint``; in the processes of ``world``."""

    seed: int = 0
    checkpoint: Checkpoint | None = None
    world: World = ALONE


@dataclass(frozen=True)
class Rows:
    """What learning-compression chooses ranks from: the search's candidates with their prices, and the limits."""

    table: Table
    limits: Limits
    base: Base


def trained_whole(
    source: Source, plan: Plan, recipe: Recipe, batches: Batches, epochs: int, loss: LossOf, rows: Rows | None = None,
    tell: Tell = lambda progress: None, running: Running = Running(),
) -> tuple[Source, Plan]:
    """The source with the weights of full-rank training towards ``plan``, and the plan that training leaves: LC's is its own.

    Batch-norm statistics are those of the trained (for lc and lrpet: projected) weights. Raises EdgelrError where training diverges.
    """
    net = copy.deepcopy(source.plain)
    method = method_of(net, source, plan, recipe, batches, rows)
    fit(net, loss, batches, recipe.schedule(epochs), recipe.rate_before, method, tell, running)
    recalibrate(net, islice(batches.epoch(epochs), RECALIBRATION))
    chosen = method.plan if isinstance(method, LearningCompression) else plan
    return inspect(source.name, net, source.shape), chosen


def method_of(net: nn.Module, source: Source, plan: Plan, recipe: Recipe, batches: Batches, rows: Rows | None) -> Method:
    """The method that trains ``net``, the source's copy, towards the plan."""
    if recipe.name == "lc":
        assert rows is not None
        return LearningCompression(net, rows.table, rows.limits, rows.base, recipe.lc)
    if recipe.name == "bsr":
        return Bsr(aims(net, plan), recipe.bsr)
    found = matrices(net, plan)
    if recipe.name == "rank-tuning":
        return RankTuning(found)
    norms = {layer: net.get_submodule(norm) for layer, norm in source.norms.items()}
    return Lrpet(found, norms, recipe.lrpet)


def factorised(source: Source, plan: Plan, calibration: Callable[[], Sequence[Tensor]]) -> tuple[nn.Module, Factors]:
    """The source, batch norm folded, with the plan's layers factorised: aware of the calibration inputs. And its factors."""
    factors = Factors(source)
    factors.grouped.expanded(plan)
    chosen = [layer for layer in source.layers if layer.name in plan.factorised()]
    shared = [layer.name for layer in chosen if plan[layer.name].share is not None]
    factors.prepare(chosen, sorted({choice.scheme for choice in plan.factorised().values()}), calibration, shared)
    return rebuild(source.folded, plan, factors.decompositions, factors.grouped.joint(plan)), factors


def tuned(
    folded: nn.Module, source: Source, recipe: Recipe, batches: Batches, epochs: int, loss: LossOf,
    tell: Tell = lambda progress: None, running: Running = Running(),
) -> nn.Module:
    """A factorised network after fine-tuning with its batch norms alive; folded again."""
    norms = {layer: source.plain.get_submodule(norm) for layer, norm in source.norms.items()}
    net = live(folded, norms)
    fit(net, loss, batches, recipe.schedule(epochs), recipe.rate, PLAIN, tell, running)
    return settled(net, norms)


def fit(
    net: nn.Module, loss: LossOf, batches: Batches, schedule: Schedule, rate: float, method: Method, tell: Tell,
    running: Running = Running(),
) -> None:
    """Train all parameters of ``net`` in place; it ends in eval mode."""
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    net.requires_grad_(True).train()
    groups = [(rate, list(net.parameters()))]
    own = running
    train(groups, loss(net), batches, schedule, tell, method=method, net=net, seed=own.seed, checkpoint=own.checkpoint, world=own.world)
    net.eval()
