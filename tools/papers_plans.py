"""A network with everything that a search for its ranks needs, made once: for the tables that compare the papers' methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from papers_data import Cifar
from torch import Tensor, nn

from edgelr.factorize import choice_cost, named_layers
from edgelr.models.groups import found_groups
from edgelr.pipeline import candidates
from edgelr.pipeline.prepare import counted_costs
from edgelr.pipeline.scorer import GraphScorer
from edgelr.pipeline.source import Source, first, gathered, inspect
from edgelr.pipeline.training.recipes import Rows
from edgelr.ranks import Table, additive, beam, energy, uniform
from edgelr.vocabulary import DENSE, Choice, Layer, Plan, Scheme

SCHEMES: tuple[Scheme, ...] = ("spatial", "channel", "linear")
STEPS, COUNT_MAX = 2, 20  # ranks are multiples of 2, at most 20 of a layer
SCORED = 256  # held-out images that score a plan
SENSITIVITY_MACS = 6e11


@dataclass(frozen=True)
class Ready:
    """``effects`` is the table with the divergence that each choice alone causes, ``tails`` the one with its own relative error."""

    source: Source
    able: Sequence[Layer]
    factors: candidates.Factors
    scorer: GraphScorer
    effects: Table
    tails: Table
    base: Mapping[str, float]
    calibration: list[Tensor]

    def limits(self, share: float) -> dict[str, float]:
        """``share`` of the dense network's MACs, counted."""
        return {"macs": share * (self.source.macs or 0)}

    def rows(self, share: float) -> Rows:
        return Rows(self.tails, self.limits(share), self.base)

    def plan(self, method: str, share: float, plans_scored: int) -> Plan:
        """By the ranks' method of that name. "joint" gets as many parameters as uniform ranks at this share of the MACs: sharing saves
        storage, not work.
        """
        limits = self.limits(share)
        if method == "joint":
            return self.joint(self.params(self.plan("uniform", share, 0)))
        if method == "uniform":
            return uniform(self.effects, limits, self.base)
        if method == "energy":
            return energy(self.tails, limits, self.base)
        seeds = [self.plan("uniform", share, 0), self.plan("energy", share, 0), additive(self.effects, limits, self.base).plan]
        return beam(self.effects, limits, self.base, self.scorer, seed_plans=seeds, max_evaluations=plans_scored).plan

    def joint(self, params: int) -> Plan:
        """Shared factors for groups, factors of their own for other layers, at most so many parameters: the least sum of own errors."""
        layers, grouped = named_layers(self.source.folded), self.factors.grouped
        names = [w.name for w in self.able if "spatial" in w.schemes]
        groups = found_groups(layers, names)
        members = {m for group in groups.values() for m in group}
        grouped.groups.update(groups)
        options = candidates.grouped_choices(self.able, groups, ("spatial",), STEPS, ["params"], COUNT_MAX)
        options = {g: tuple(c for c in found if c.share and c.share.side != "both") for g, found in options.items()}
        alone = [w for w in self.able if w.name not in members]
        options |= candidates.choices(alone, SCHEMES, STEPS, ["params"], COUNT_MAX)
        self.factors.prepare([w for w in self.able if w.name in (*options, *members)], SCHEMES, lambda: self.calibration, members)
        rows = candidates.table(self.able, options, lambda name, choice: {}, self.factors.error, groups)
        inside = sum(next(c for c in rows[n] if c.choice == DENSE).costs["params"] for n in rows)
        base = {"params": counted_costs(self.source, Plan())["params"] - inside}
        return grouped.expanded(additive(rows, {"params": float(params)}, base).plan)

    def macs(self, plan: Plan) -> int:
        return int(counted_costs(self.source, plan)["macs"])

    def params(self, plan: Plan) -> int:
        return int(counted_costs(self.source, plan)["params"])


def ready(name: str, net: nn.Module, cifar: Cifar, schemes: Sequence[Scheme] = SCHEMES) -> Ready:
    """Decompose every layer (aware of its inputs), and measure what each choice alone does to held-out images."""
    source = inspect(name, net, (3, 32, 32))
    data = cifar.data(1_000)
    assert data.calibration and data.validation
    calibration = list(first(data.calibration, 512))
    able, _, _ = candidates.factorisable(source.layers, source.graph, source.folded)
    options = candidates.choices(able, schemes, STEPS, ["macs"], COUNT_MAX)
    factors = candidates.Factors(source)
    factors.prepare([w for w in able if w.name in options], schemes, lambda: calibration)
    x, y = gathered(data.validation, SCORED)
    scorer = GraphScorer(source.graph, x, y, factors.product)
    moves = [(layer, choice) for layer, found in options.items() for choice in found]
    samples = int(SENSITIVITY_MACS / max(1, len(moves) * (source.macs or 1) / 2))
    effects = dict(zip(moves, scorer.divergences(moves, max(16, min(SCORED, samples))), strict=True))

    def effect(layer: str, choice: Choice) -> float:
        return effects[layer, choice]

    measured = candidates.table(able, options, lambda layer, choice: {}, effect)
    tails = candidates.table(able, options, lambda layer, choice: {}, factors.error)
    by_name = {layer.name: layer for layer in source.layers}
    base = {"macs": float(source.macs or 0) - sum(choice_cost(by_name[n], DENSE)[1] for n in options)}
    return Ready(source, able, factors, scorer, measured, tails, base, calibration)


def accuracy(net: nn.Module, x: Sequence[Tensor], y: Sequence[Tensor]) -> float:
    """Share of right answers of a network in eval mode, batches given."""
    with torch.no_grad():
        right = sum(int(net(b.contiguous(memory_format=torch.channels_last)).argmax(1).eq(t).sum()) for b, t in zip(x, y, strict=True))
    return right / sum(map(len, y))
