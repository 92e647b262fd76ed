"""Plan, write, measure: the network that meets the budgets. Recurrent layers are planned with in one spelling and may end in another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from edgelr.devices import Measurement
from edgelr.errors import BudgetError, GateError
from edgelr.graph.recurrent import layers
from edgelr.latency import pairs
from edgelr.pipeline.budgets import limits
from edgelr.pipeline.files import write
from edgelr.pipeline.fit import Fitted
from edgelr.pipeline.forms import Tried, candidates, choose
from edgelr.pipeline.job import Job
from edgelr.pipeline.precision import Precision, Spelling
from edgelr.pipeline.prepare import Prepared, counted_costs, prepare
from edgelr.pipeline.produce import Product, produce
from edgelr.pipeline.training.unfinished import Unfinished
from edgelr.vocabulary import Format

REFITS = 3  # final files over a latency budget by noise are planned again this often


@dataclass(frozen=True)
class Planned:
    """The chosen network, how it came to be, and its latency beside the dense network's by runtime."""

    product: Product
    precision: Precision
    measured: Mapping[str, Measurement]
    tried: tuple[Tried, ...] = ()
    prepared: Prepared | None = None
    fitted: Fitted | None = None


def planned_network(job: Job, dense: Product, precision: Precision, unfinished: Unfinished) -> Planned:
    """The network that meets the budgets, or that loses no more than ``max_loss``; the dense one where nothing is asked for.

    A plan that ``unfinished`` kept is not searched for again.
    Where layers may have factors in common, it is planned with and without groups, and the plan that scores better is kept (with
    ``max_loss`` the smaller one). Raises BudgetError and GateError where none does.
    """
    settings, log = job.settings, job.log
    if settings.method == "dense" or not (settings.budgets or settings.max_loss is not None):
        return Planned(dense, precision, measured(job, dense, dense))
    if (kept := unfinished.plan()) is not None:
        return _planned(job, dense, precision, any(c.share for c in kept.factorised().values()), unfinished)
    if not settings.sharing or not settings.alone:
        return _planned(job, dense, precision, settings.sharing, unfinished)
    found: dict[str, Planned] = {}
    failed: list[BudgetError | GateError] = []
    for how, together in (("each layer for itself", False), ("layers in groups", True)):
        log.say(f"planning: {how}")
        try:
            found[how] = _planned(job, dense, precision, together, unfinished)
        except (BudgetError, GateError) as error:
            log.say(f"{how}: {error.what}")
            failed.append(error)
    if not found:
        raise failed[0]
    scores = {how: _score(planned) for how, planned in found.items()}
    params = {how: counted_costs(job.source, planned.product.plan)["params"] for how, planned in found.items()}
    best = max(found, key=lambda how: (scores[how] if settings.max_loss is None else 0.0, -params[how], scores[how]))
    told = ", ".join(f"{how} {scores[how]:.4f} with {params[how]:,.0f} parameters" for how in found)
    log.say(f"kept: {best}; on held-out samples {told}")
    return found[best]


def _score(planned: Planned) -> float:
    """Of the plan, on the samples that choices are made on."""
    assert planned.prepared is not None and planned.fitted is not None
    return planned.prepared.fitting.searcher.scorer.score(planned.fitted.plan)


def _planned(job: Job, dense: Product, precision: Precision, together: bool, unfinished: Unfinished) -> Planned:
    prepared, precision = _prepared(job, dense, precision, together)
    for _ in range(REFITS):
        with job.log.stage("choose"):
            fitted = unfinished.found(prepared.fitting) or prepared.fitting.fit()
        if job.settings.max_loss is not None and not fitted.plan.factorised():
            slower = "" if job.settings.allow_slower else ", or none that is no slower (--allow-slower)"
            job.log.say(f"nothing can be truncated within --max-loss {job.settings.max_loss:g}{slower}: the network stays dense")
        product, spelled, tried = dense, precision, tuple[Tried, ...]()
        if fitted.plan.factorised():
            with job.log.stage("produce"):
                product = produce(job.source, fitted.plan, job.factors, job.calibration, job.settings, precision)
                product, spelled, tried = respelled(job, product, precision, dense.files)
        planned = Planned(product, spelled, measured(job, dense, product), tried, prepared, fitted)
        if not prepared.fitting.still_over(product.plan, planned.measured):
            break
    return planned


def measured(job: Job, dense: Product, product: Product) -> dict[str, Measurement]:
    """Dense and chosen files side by side, in each runtime."""
    with job.log.stage("measure"):
        return pairs(job.machine, dense.files, product.files, seed=job.settings.seed)


def _prepared(job: Job, dense: Product, precision: Precision, together: bool) -> tuple[Prepared, Precision]:
    """The first spelling with which the budgets can be met at all. Raises the first one's BudgetError or GateError where none can."""
    failed: list[BudgetError | GateError] = []
    for one in _spellings(job, precision):
        try:
            own = prepare(job.settings, job.source, job.data, job.factors, dense.files, job.target, job.machine, one, job.log, together)
            return own, one
        except (BudgetError, GateError) as error:
            failed.append(error)
    raise failed[0]


def _spellings(job: Job, precision: Precision) -> list[Precision]:
    """The precisions to plan with, in order: only a loop keeps factors apart, so it comes first where bytes count."""
    if not layers(job.source.graph):
        return [precision]
    small = job.settings.max_loss is not None or any(b.kind == "size" for b in job.settings.budgets)
    order: list[Spelling] = ["loop", "fused"] if small else ["fused", "loop"]
    return [replace(precision, forms={f: replace(form, recurrent=s) for f, form in precision.forms.items()}) for s in order]


def respelled(
    job: Job, product: Product, precision: Precision, dense_files: Mapping[Format, bytes]
) -> tuple[Product, Precision, tuple[Tried, ...]]:
    """A planned recurrent network in the fastest form that is exact enough and within the size budgets."""
    if not layers(product.graph):
        return product, precision, ()
    sized = [b for b in job.settings.budgets if b.kind == "size"]
    formats = job.settings.formats
    most = limits(sized, {f"bytes:{f}": float(len(d)) for f, d in dense_files.items()}, [], formats)
    forms = candidates(product.graph, job.settings.numbers, job.dynamic_refused)
    within = {f: most[f"bytes:{f}"] for f in formats if f"bytes:{f}" in most}
    if job.settings.max_loss is not None:  # what was asked for is a small network: no form that multiplies its factors out
        within = {f: 1.02 * len(d) for f, d in product.files.items()}
    precision, tried = choose(job, product.graph, product.ranges, precision, forms, within)
    quantized = precision.quantized(product.graph, product.ranges, formats)
    return replace(product, quantized=quantized, files=write(quantized)), precision, tried
