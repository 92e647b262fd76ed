"""Which form each file gets: every form is written and measured as the whole network, and the fastest that is exact enough wins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from edgelr.devices import Measurement
from edgelr.errors import UsageError
from edgelr.graph import Graph, run
from edgelr.graph.recurrent import layers
from edgelr.pipeline.files import write
from edgelr.pipeline.job import Job
from edgelr.pipeline.metrics import sqnr_db
from edgelr.pipeline.precision import POLICIES, Form, Policy, Precision, Ranges, Spelling, check_patterns
from edgelr.quantization import simulate
from edgelr.vocabulary import Format, Timing

CLOSE = 1.03  # forms this near the fastest are as fast: sessions of one file differ by 2 to 5 %
EXACT_DB = 20.0  # a form below this is too coarse, where another isn't (ViT-tiny: 16.5 dB in whole int8, 28.9 mixed; bench_attention.py)
SLOWER = 1.02
EXACTNESS_MACS = 1e11
FLOAT = Form("float")


@dataclass(frozen=True)
class Tried:
    """One form of one file: what it weighs and takes, how exact it is against the float network, and whether it was chosen."""

    format: Format
    form: Form
    bytes: int
    sqnr_db: float
    latency: Timing
    chosen: bool
    why: str


def chosen_precision(job: Job, ranges: Ranges) -> tuple[Precision, tuple[Tried, ...]]:
    """How the network's operations are to compute, by what the user said and what measuring the whole network showed.

    Raises UsageError where a pattern matches nothing, or the target's runtime computes the asked form wrongly.
    """
    settings, graph, refused = job.settings, job.source.graph, job.dynamic_refused
    check_patterns(graph, settings.keep_float)
    if settings.numbers == "dynamic" and refused:
        raise UsageError("--numbers dynamic is not for this target", refused, "--numbers int8, which runs there")
    precision = Precision({}, settings.keep_float, (), job.target.weight_max)
    if settings.via == "stock":
        return precision, ()
    return choose(job, graph, ranges, precision, candidates(graph, settings.numbers, refused))


def candidates(graph: Graph, numbers: str, dynamic_refused: str) -> tuple[Form, ...]:
    """The forms to try, the float one last to be compared with. Only networks that integers slow down somewhere have a choice."""
    low_rank = any(op.ih.right is not None for op in layers(graph).values())
    spellings: tuple[Spelling, ...] = () if not layers(graph) else ("fused", "linear", "loop") if low_rank else ("fused", "loop")
    if numbers != "auto":
        named = [Form(numbers, s) for s in spellings or ("fused",)]  # type: ignore[arg-type]
        return tuple(named) if numbers == "float" else (*named, FLOAT)
    if spellings:
        policies: tuple[Policy, ...] = ("mixed",) if dynamic_refused else ("int8", "dynamic", "mixed")
        return (*(Form(p, s) for s in spellings for p in policies), FLOAT)
    if not any(n.op.slow_on_integers for n in graph.nodes):
        return (Form("int8"), FLOAT)
    return tuple(Form(p) for p in POLICIES if p != "dynamic" or not dynamic_refused)


def choose(
    job: Job, graph: Graph, ranges: Ranges, precision: Precision, forms: Sequence[Form], limits: Mapping[Format, float] | None = None
) -> tuple[Precision, tuple[Tried, ...]]:
    """The precision with a form for each format, and all that was tried: ``limits`` in bytes, exactness on some calibration samples."""
    settings, machine, log = job.settings, job.machine, job.log
    x = next(iter(job.calibration))[: max(1, min(32, int(EXACTNESS_MACS / (8 * max(1, job.source.macs or 1)))))]
    with torch.no_grad():
        reference = run(graph, x).numpy()
    chosen: dict[Format, Form] = {}
    tried: list[Tried] = []
    for format in settings.formats:
        runtime = machine.runtimes.get(format)
        if runtime is None:
            chosen[format] = forms[0]
            continue
        made = {f.name: replace(precision, forms={format: f}).quantized(graph, ranges, (format,))[format] for f in forms}
        files = {name: write({format: q})[format] for name, q in made.items()}
        log.say(f"{'measuring' if machine.how == 'measured' else 'pricing'} {' | '.join(made)} in {runtime}")
        measured = machine.together(files, format, seed=settings.seed)
        exactness = {name: sqnr_db(reference, simulate(q, x).numpy()) for name, q in made.items()}
        small = [f for f in forms if len(files[f.name]) <= (limits or {}).get(format, float("inf"))] or list(forms)
        best = best_of([f for f in small if f != FLOAT] or [FLOAT], measured, exactness)
        chosen[format] = best
        for f in forms:
            why = _why(f, best, f in small, measured, exactness, settings.numbers)
            tried.append(Tried(format, f, len(files[f.name]), exactness[f.name], measured[f.name], f == best, why))
        ratio = measured[best.name].median / measured["float"].median
        if ratio > SLOWER:
            log.say(f"note: {best.name} takes {ratio:.2f} of float's time in {runtime}")
    return replace(precision, forms=chosen), tuple(tried)


def best_of(forms: Sequence[Form], measured: Measurement, exactness: Mapping[str, float]) -> Form:
    """The first of the forms that are as fast as the fastest, among those that are exact enough."""
    enough = [f for f in forms if exactness[f.name] >= EXACT_DB] or [max(forms, key=lambda f: exactness[f.name])]
    fastest = min(measured[f.name].median for f in enough)
    return next(f for f in enough if measured[f.name].median <= CLOSE * fastest)


def _why(form: Form, best: Form, small: bool, measured: Measurement, exactness: Mapping[str, float], numbers: str) -> str:
    if form == best:
        return "asked for" if numbers != "auto" else "the fastest that is exact enough" if len(exactness) > 2 else "whole int8"
    if form == FLOAT:
        return "to compare with"
    if not small:
        return "over the size budget"
    if exactness[form.name] < EXACT_DB:
        return f"too coarse: {exactness[form.name]:.1f} dB"
    return f"{measured[form.name].median / measured[best.name].median:.2f} of the chosen form's time"
