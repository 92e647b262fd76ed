"""Which number format each file gets: every form is measured on the whole network, and the fastest that is exact enough wins."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from edgelr.devices import Measurement, Session, Target, measure, open_session
from edgelr.errors import UsageError
from edgelr.graph import Graph, run
from edgelr.pipeline.files import write
from edgelr.pipeline.log import Log
from edgelr.pipeline.machine import Machine
from edgelr.pipeline.metrics import sqnr_db
from edgelr.pipeline.precision import POLICIES, Policy, Precision, Ranges, check_patterns
from edgelr.pipeline.settings import Format, Settings
from edgelr.pipeline.source import Source
from edgelr.quantization import simulate
from edgelr.vocabulary import Timing

CLOSE = 1.03  # forms this near the fastest are as fast: sessions of one file differ by 2 to 5 %
EXACT_DB = 20.0  # a form below this is too coarse, where another isn't (a whole-int8 ViT of random weights keeps 30)
SLOWER = 1.02
EXACTNESS_MACS = 1e11


@dataclass(frozen=True)
class Tried:
    """One form of one file: what it weighs and takes, how exact it is against the float network, and whether it was chosen."""

    format: Format
    policy: Policy
    bytes: int
    sqnr_db: float
    latency: Timing
    chosen: bool
    why: str


def chosen_precision(
    source: Source, ranges: Ranges, calibration: Iterable[Tensor], settings: Settings, target: Target, machine: Machine, log: Log
) -> tuple[Precision, tuple[Tried, ...]]:
    """How the network's operations are to compute, by what the user said and what measuring the whole network showed.

    Raises UsageError where a pattern matches nothing, or the target's runtime computes the asked form wrongly.
    """
    check_patterns(source.graph, settings.keep_float)
    refused = "; ".join(filter(None, (target.dynamic_refused(r) for r in machine.runtimes.values())))
    if settings.numbers == "dynamic" and refused:
        raise UsageError("--numbers dynamic is not for this target", refused, "--numbers int8, which runs there")
    precision = Precision({}, settings.keep_float, (), target.weight_max)
    if settings.via == "stock":
        return replace(precision, policies=dict.fromkeys(settings.formats, "int8")), ()
    x = next(iter(calibration))[: max(1, min(32, int(EXACTNESS_MACS / (8 * max(1, source.macs or 1)))))]
    return choose(source.graph, ranges, x, precision, settings, machine, refused, log)


def candidates(graph: Graph, numbers: str, dynamic_refused: str) -> tuple[Policy, ...]:
    """The forms to try; "float" is measured to be compared with. Only networks with operations that are slow on integers have a choice."""
    if numbers != "auto":
        return (numbers, "float") if numbers != "float" else ("float",)  # type: ignore[return-value]
    if not any(n.op.slow_on_integers for n in graph.nodes):
        return ("int8", "float")
    return tuple(p for p in POLICIES if p != "dynamic" or not dynamic_refused)


def choose(
    graph: Graph, ranges: Ranges, x: Tensor, precision: Precision, settings: Settings, machine: Machine, refused: str, log: Log
) -> tuple[Precision, tuple[Tried, ...]]:
    """The precision with a policy for each format, and all that was tried. ``x`` are calibration samples to judge exactness on."""
    with torch.no_grad():
        reference = run(graph, x).numpy()
    chosen: dict[Format, Policy] = {}
    tried: list[Tried] = []
    for format in settings.formats:
        runtime, policies = machine.runtimes.get(format), candidates(graph, settings.numbers, refused)
        if runtime is None:
            chosen[format] = policies[0]
            continue
        made = {p: replace(precision, policies={format: p}).quantized(graph, ranges, (format,))[format] for p in policies}
        files = {p: write({format: q})[format] for p, q in made.items()}
        log.say(f"measuring {', '.join(policies)} in {runtime}")
        measured = measured_together(files, format, machine, settings.seed)
        exactness = {p: sqnr_db(reference, simulate(q, x).numpy()) for p, q in made.items()}
        best = best_of([p for p in policies if p != "float" or settings.numbers == "float"], measured, exactness)
        chosen[format] = best
        for p in policies:
            why = _why(p, best, measured, exactness, settings.numbers)
            tried.append(Tried(format, p, len(files[p]), exactness[p], measured[p], p == best, why))
        if measured[best].median > SLOWER * measured["float"].median:
            log.say(f"note: {best} takes {measured[best].median / measured['float'].median:.2f} of float's time in {runtime}")
    return replace(precision, policies=chosen), tuple(tried)


def measured_together(files: dict[Policy, bytes], format: Format, machine: Machine, seed: int) -> Measurement:
    """All forms interleaved in one process."""
    sessions: dict[str, Session] = {name: open_session(data, format, machine.threads) for name, data in files.items()}
    try:
        return measure(sessions, on=machine.on, rounds=30, min_seconds=0.3, seed=seed)
    finally:
        for session in sessions.values():
            session.close()


def best_of(policies: Sequence[Policy], measured: Measurement, exactness: dict[Policy, float]) -> Policy:
    """The first of the forms that are as fast as the fastest, among those that are exact enough."""
    enough = [p for p in policies if exactness[p] >= EXACT_DB] or [max(policies, key=lambda p: exactness[p])]
    fastest = min(measured[p].median for p in enough)
    return next(p for p in enough if measured[p].median <= CLOSE * fastest)


def _why(policy: Policy, best: Policy, measured: Measurement, exactness: dict[Policy, float], numbers: str) -> str:
    if policy == best:
        return "asked for" if numbers not in ("auto", "") else "the fastest that is exact enough" if len(exactness) > 2 else "whole int8"
    if policy == "float":
        return "measured to compare with"
    if exactness[policy] < EXACT_DB:
        return f"too coarse: {exactness[policy]:.1f} dB"
    return f"{measured[policy].median / measured[best].median:.2f} of the chosen form's time"
