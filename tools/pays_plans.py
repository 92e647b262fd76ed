"""A network's plans under a latency limit of a target, by every method of choosing ranks, priced by the target's table or measured here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from bench_table import Cells, tell
from torch import Tensor, nn

from edgelr.errors import BudgetError
from edgelr.factorize import JointDecomposition, decompose_group, named_layers, rebuild
from edgelr.latency import Machine, Prices
from edgelr.models.groups import found_groups
from edgelr.pipeline import Settings, candidates
from edgelr.pipeline.files import draft
from edgelr.pipeline.log import Log
from edgelr.pipeline.machine import machine_of, place_of
from edgelr.pipeline.precision import Precision
from edgelr.pipeline.pricing import priced
from edgelr.pipeline.scorer import GraphScorer
from edgelr.pipeline.source import Source
from edgelr.ranks import Table, additive, c_step, energy, uniform
from edgelr.vocabulary import DENSE, Candidate, Choice, Plan, Scheme, Share

SCHEMES: tuple[Scheme, ...] = ("channel", "spatial", "linear")
# Whose common factor is quickly found: the first factor of "channel" is as wide as all patches.
SHARED: tuple[tuple[Scheme, Literal["left", "right"]], ...] = (("spatial", "left"), ("spatial", "right"), ("channel", "right"))
TARGETS = ("raspberry-pi-4", "raspberry-pi-5", "host")
SHARE = 0.5
RIVALS = ("ResNet-56", "ResNet-20")
METHODS = ("uniform", "energy", "learning-compression", "additive", "shared")


@dataclass(frozen=True)
class Counts:
    """Images: trained on in one epoch, scored before training, tested at the end, calibrated on."""

    trained: int
    selection: int = 1000
    tested: int = 2000
    calibration: int = 128


@dataclass(frozen=True)
class Place:
    """Where latencies come from, and what every choice costs there."""

    target: str
    machine: Machine
    precision: Precision
    prices: Prices
    dense_us: float


@dataclass
class Ground:
    """A network with its decompositions, of the weights alone; ``effects`` is empty where outputs mean nothing (random weights)."""

    source: Source
    steps: int
    options: Mapping[str, tuple[Choice, ...]] = field(default_factory=dict)
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    joint: dict[tuple[str, Scheme, str], JointDecomposition] = field(default_factory=dict)
    effects: dict[tuple[str, Choice], float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        able, _, factor_of = candidates.factorisable(self.source.layers, self.source.graph, self.source.folded)
        self.able = able
        self.options = candidates.choices(able, SCHEMES, self.steps, ["us:litert"])
        self.factors = candidates.Factors(self.source, aware=False, factors=factor_of)
        tell(f"{self.source.name}: decomposing {len(self.options)} layers")
        self.factors.prepare([w for w in able if w.name in self.options], SCHEMES, list)
        modules = named_layers(self.source.folded)
        self.groups = found_groups(modules, list(self.options))
        for name, members in self.groups.items():
            own = {m: modules[m] for m in members}
            for scheme, side in SHARED:
                if any(c.scheme == scheme for c in self.options[members[0]]):
                    self.joint[name, scheme, side] = decompose_group(own, scheme, side)

    @property
    def moves(self) -> list[tuple[str, Choice]]:
        return [(n, c) for n, found in self.options.items() for c in found]

    def measure_effects(self, x: Tensor, labels: Tensor, cells: Cells) -> None:
        """What each choice alone does to the outputs, on images ``x``."""

        def make() -> list[float]:
            return GraphScorer(self.source.graph, x, labels, self.factors.product).divergences(self.moves, len(x))

        found = cells.cell(f"effects {self.source.name}", make)
        self.effects = dict(zip(self.moves, found, strict=True))

    def place(self, target: str, cells: Cells) -> Place:
        """Every choice priced on a target in LiteRT: by its table or, on the host, measured."""
        place = place_of(target)
        machine = machine_of(place, ("tflite",))
        precision = Precision({}, weight_max=place.target.weight_max)
        keys = [*((n, DENSE) for n in self.options), *self.moves]

        def make() -> dict[str, Any]:
            dense = draft(self.source.graph, ("tflite",), precision)
            settings = Settings(formats=("tflite",))
            found = priced(self.source, self.options, self.factors, settings, machine, precision, dense, Log(tell))["litert"]
            return {"us": [found.us[k] for k in keys], "base_us": found.base_us}

        cell = cells.cell(f"prices {self.source.name} {target}", make)
        prices = Prices("litert", machine.on, dict(zip(keys, cell["us"], strict=True)), cell["base_us"], machine.how)
        return Place(target, machine, precision, prices, prices.predicted_us(Plan(), self.options))

    def rows(self, place: Place, measured: bool) -> Table:
        """The table of layers one by one, its errors the weights' or, where ``measured``, what each choice does to the outputs."""

        def error(name: str, choice: Choice) -> float:
            return self.effects[name, choice] if measured else self.factors.error(name, choice)

        return candidates.table(self.able, self.options, lambda n, c: {"us": place.prices.us[n, c]}, error)

    def shared_rows(self, place: Place) -> Table:
        """The table in which layers of a group have a factor in common or are dense: one row for the group."""
        grouped = {m for members in self.groups.values() for m in members}
        rows = {n: cs for n, cs in self.rows(place, False).items() if n not in grouped}
        for name, members in self.groups.items():
            found = [Candidate(DENSE, {"us": sum(place.prices.us[m, DENSE] for m in members)}, 0.0)]
            for choice in self.options[members[0]]:
                assert choice.rank is not None
                us = sum(place.prices.us[m, choice] for m in members)
                for side in (side for scheme, side in SHARED if scheme == choice.scheme):
                    error = sum(float(self.joint[name, choice.scheme, side].errors(m)[choice.rank]) for m in members)
                    found.append(Candidate(Choice(choice.scheme, choice.rank, Share(name, side)), {"us": us}, error))
            rows[name] = tuple(found)
        return rows

    def plan(self, method: str, place: Place, limit_us: float) -> Plan | None:
        """The plan by a method, of layers; None where it finds none within the limit."""
        limits, base = {"us": limit_us}, {"us": place.prices.base_us}
        try:
            if method == "shared":
                return self.expanded(c_step(self.shared_rows(place), limits, base))
            rows = self.rows(place, measured=method == "additive" and bool(self.effects))
            if method == "additive":
                return additive(rows, limits, base).plan
            choose = {"uniform": uniform, "energy": energy, "learning-compression": c_step}[method]
            return choose(rows, limits, base)
        except BudgetError as error:
            tell(f"{method}: {error.what}")
            return None

    def expanded(self, plan: Plan) -> Plan:
        """A plan of groups told layer by layer."""
        return Plan({m: choice for n, choice in plan.choices.items() for m in self.groups.get(n, (n,))})

    def built(self, plan: Plan) -> nn.Module:
        """The network of a plan, batch norm folded; common factors are one parameter."""
        return rebuild(self.source.folded, plan, self.factors.decompositions, self.joint)

    def kept(self, plan: Plan) -> float:
        """The share of the weights' energy that a plan keeps, in the mean of all layers that could be factorised."""
        lost = 0.0
        for name, choice in plan.factorised().items():
            assert choice.rank is not None
            joint = choice.share and self.joint[choice.share.group, choice.scheme, choice.share.side]
            lost += float(joint.errors(name)[choice.rank]) if joint else self.factors.error(name, choice)
        return 1 - lost / len(self.options)


def right(net: nn.Module, x: Tensor, y: Tensor, batch: int = 100) -> float:
    """Share of right answers."""
    hits = 0
    with torch.no_grad():
        for b, t in zip(torch.split(x, batch), torch.split(y, batch), strict=True):
            hits += int(net(b.contiguous(memory_format=torch.channels_last)).argmax(1).eq(t).sum())
    return hits / len(x)


def trained_key(cell: dict[str, Any]) -> str:
    return "trained " + " ".join(f"{n}:{'.'.join(map(str, c))}" for n, c in sorted(cell["plan"].items()))
