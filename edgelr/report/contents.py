"""What a report holds: report.json, schema 1, as frozen data. Field order here is the order in the file.

Every number is labelled measured, simulated, predicted or counted; what would mislead (a measurement without a device,
a measurement on an emulated device) can't be built.
"""
from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from edgelr.report.checks import check_finite, check_measured, check_score, refuse
from edgelr.report.frontier import FrontierPoint, check_frontier
from edgelr.report.latency import Latency, Milliseconds
from edgelr.report.precision import Form, OpGroup, Reverted, Sensitivity, Training, account_of
from edgelr.report.training import RankChange, TrainingStage
from edgelr.vocabulary import BudgetKind, How, Score

__all__ = [
    "SCHEMA", "Artifact", "BudgetLine", "Dense", "Form", "FrontierPoint", "Latency", "LayerLatency", "LayerLine", "Milliseconds",
    "ModelFacts", "OpGroup", "Ops", "RankChange", "Report", "Reverted", "Round", "Search", "Sensitivity", "Source", "Stage", "TargetFacts",
    "Training", "TrainingStage",
]

SCHEMA = 1
StageName = Literal["source", "factorized", "trained", "quantized"]


@dataclass(frozen=True)
class ModelFacts:
    """The network that was given: how it was named, and its input shapes with the batch."""

    name: str
    inputs: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class TargetFacts:
    """Where the network is to run. ``device`` is the one attached; "" where none was.

    ``conditions`` are what measurements there rest on, as far as it can be read: clocks, governor, temperature, throttling, versions.
    """

    name: str
    runtime: str
    threads: int
    device: str = ""
    conditions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class BudgetLine:
    """One budget and what came of it. ``limit`` and ``value`` are both in ``unit``; ``on`` names the device or the file.

    ``asked`` is the user's own text ("70%ms"). ``band`` is the error, as a share, that a value may have which isn't measured or counted:
    the budget is met only where it holds with that error.
    """

    kind: BudgetKind
    limit: float
    unit: str
    value: float
    how: How
    on: str
    asked: str = ""
    band: float = 0.0
    met: bool = field(init=False)

    def __post_init__(self) -> None:
        check_finite(self.limit, f"the limit of the {self.kind} budget")
        check_finite(self.value, f"the value of the {self.kind} budget")
        check_measured(self.how, self.on, f"{self.kind} budget")
        check_finite(self.band, f"the band of the {self.kind} budget")
        object.__setattr__(self, "met", self.value * (1 + self.band) <= self.limit * (1 + 1e-9))


@dataclass(frozen=True)
class Source:
    """The float network as given. ``macs`` is None where a layer has no known count; ``latency`` is its float latency, if timed."""

    params: int
    macs: int | None
    float_bytes: int
    score: Score | None = None
    latency: tuple[Latency, ...] = ()

    def __post_init__(self) -> None:
        check_score(self.score)


@dataclass(frozen=True)
class Dense:
    """The dense int8 network in one format: what percentage budgets and savings are counted from."""

    format: str
    bytes: int
    score: Score | None = None
    latency: tuple[Latency, ...] = ()

    def __post_init__(self) -> None:
        check_score(self.score)


@dataclass(frozen=True)
class Stage:
    """The network after one stage of the journey. ``score`` is None where it was not scored.

    ``score_how`` is "simulated" for a score of the integer run, "measured" for one of the network itself.
    """

    name: StageName
    params: int
    macs: int | None
    score: Score | None = None
    score_how: How = "measured"

    def __post_init__(self) -> None:
        check_score(self.score)


@dataclass(frozen=True)
class LayerLatency:
    """What a layer costs in its network, in microseconds, dense and as chosen."""

    dense: float | None
    chosen: float | None
    how: How

    def __post_init__(self) -> None:
        # A layer's price is a difference between whole networks and may come out below zero by noise.
        check_finite(self.dense, "a layer's dense latency in us", low=-math.inf)
        check_finite(self.chosen, "a layer's chosen latency in us", low=-math.inf)


@dataclass(frozen=True)
class LayerLine:
    """What one layer became and why. ``shape`` is the source's weight shape; ``bytes`` those of the chosen int8 weights and biases.

    ``share``: the side of a factor that it has in common, and the group ("left of blocks.3-5.conv1"); its bytes are its part of theirs.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    scheme: str
    rank: int | None
    full_rank: int | None
    macs: int | None
    bytes: int
    latency_us: LayerLatency | None
    why: str
    share: str = ""


@dataclass(frozen=True)
class Ops:
    """Operators of a written file by the numbers they compute in; ``dynamic`` have int8 weights and float activations.

    The four are all operators of the file. ``other`` is 0: what only changes grids or works on indices counts with what it is there for.
    """

    int8: int
    float: int
    other: int
    dynamic: int = 0


@dataclass(frozen=True)
class Artifact:
    """One written file. ``reference`` names what it was compared with.

    ``agreement`` is the share of held-out samples on which file and source pick the same class. ``score_how`` holds for both:
    "measured" where the file itself was run, "simulated" where the integer run stood in for it.
    ``exact`` says that the file equals its reference on every sample; ``sqnr_db`` is then None, since JSON has no infinity.
    ``accounting`` has every operator of ``ops`` once. ``channels_last``: whether a .tflite takes its input so (None: not told).
    ``on_device`` tells how its outputs on the attached device compare with this machine's.
    """

    path: str
    format: str
    bytes: int
    sha256: str
    ops: Ops
    layout_ops: int
    score: Score | None = None
    agreement: float | None = None
    sqnr_db: float | None = None
    reference: str = ""
    latency: tuple[Latency, ...] = ()
    exact: bool = False
    score_how: How = "measured"
    accounting: tuple[OpGroup, ...] = ()
    channels_last: bool | None = None
    on_device: str = ""

    def __post_init__(self) -> None:
        if self.sqnr_db == math.inf:
            object.__setattr__(self, "sqnr_db", None)
            object.__setattr__(self, "exact", True)
        check_score(self.score)
        check_finite(self.agreement, "an agreement", 0.0, 1.0)
        check_finite(self.sqnr_db, "an SQNR in dB", low=-math.inf)
        if not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise refuse(f"{self.sha256!r} as the SHA-256 of {self.path}", "A SHA-256 is 64 lower-case hexadecimal digits.")
        told = account_of(self.accounting)
        if self.accounting and (*told, 0) != (self.ops.int8, self.ops.dynamic, self.ops.float, self.ops.other):
            raise refuse(f"an account of {self.path} that doesn't add up", f"It has {told} operators int8, dynamic and float.")


@dataclass(frozen=True)
class Search:
    """How the plan was found. ``bound`` is the best error an additive optimum could reach, ``gap`` the distance to it as a fraction."""

    method: str
    evaluations: int
    seconds: float
    bound: float | None = None
    gap: float | None = None

    def __post_init__(self) -> None:
        for name in ("seconds", "bound", "gap"):
            check_finite(getattr(self, name), f"the search's {name}", low=-math.inf)


@dataclass(frozen=True)
class Round:
    """One round of pricing: what a runtime was predicted to take for the plan, and what it took.

    Where nothing is attached that could measure, ``how`` says so, and ``measured_ms`` is what the written file takes by the table.
    """

    round: int
    runtime: str
    on: str
    predicted_ms: float
    measured_ms: float
    how: How = "measured"

    def __post_init__(self) -> None:
        check_measured(self.how, self.on, "round of pricing")
        check_finite(self.predicted_ms, "a predicted latency in ms", low=-math.inf)
        check_finite(self.measured_ms, "a measured latency in ms")

    @property
    def error(self) -> float:
        """How far the prediction was off, as a fraction of what was measured."""
        return self.predicted_ms / self.measured_ms - 1 if self.measured_ms else 0.0


@dataclass(frozen=True)
class Report:
    """Everything there is to tell about one run. ``seconds`` holds wall time by stage, in the order they ran.

    ``forms`` are the number formats that were tried for each file, ``sensitivity`` is sorted, worst first. ``steps`` are the
    files of one step of a recurrent network, its states in and out. ``training_stages`` are all trainings, in their order; ``training`` is
    the one on the integer grid. ``frontier`` are plans at other budgets beside the result.
    """

    schema: int = field(default=SCHEMA, kw_only=True)
    edgelr: str
    seed: int
    versions: Mapping[str, str]
    seconds: Mapping[str, float]
    model: ModelFacts
    target: TargetFacts
    budgets: tuple[BudgetLine, ...]
    source: Source
    stages: tuple[Stage, ...]
    layers: tuple[LayerLine, ...]
    artifacts: tuple[Artifact, ...]
    search: Search | None
    dense: tuple[Dense, ...] = ()
    rounds: tuple[Round, ...] = ()
    forms: tuple[Form, ...] = ()
    sensitivity: tuple[Sensitivity, ...] = ()
    reverted: tuple[Reverted, ...] = ()
    training: Training | None = None
    steps: tuple[Artifact, ...] = ()
    warnings: tuple[str, ...] = ()
    command: str = ""
    training_stages: tuple[TrainingStage, ...] = ()
    frontier: tuple[FrontierPoint, ...] = ()

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise refuse(f"schema {self.schema}", f"This version of edgelr writes schema {SCHEMA}.")
        for stage, seconds in self.seconds.items():
            check_finite(seconds, f"the seconds of {stage}")
        check_frontier(self.frontier)
        object.__setattr__(self, "sensitivity", tuple(sorted(self.sensitivity, key=lambda s: math.inf if s.sqnr_db is None else s.sqnr_db)))
        for layer in self.layers:
            if layer.latency_us is not None:
                check_measured(layer.latency_us.how, self.target.device or self.target.name, f"latency of layer {layer.name}")

    @property
    def met(self) -> bool:
        """Whether every budget holds."""
        return all(line.met for line in self.budgets)

    def baseline(self, row: Latency, format: str) -> tuple[str, Latency] | None:
        """What a latency is to be compared with: the dense int8 file's in the same runtime on the same device, else the source's."""
        known = [("dense int8", x) for d in self.dense if d.format == format for x in d.latency]
        known += [("float source", x) for x in self.source.latency]
        same = [(n, x) for n, x in known if (x.on, x.runtime, x.threads, x.how) == (row.on, row.runtime, row.threads, row.how)]
        return same[0] if same else None
