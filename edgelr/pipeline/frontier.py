"""The network at other budgets than the one asked for, in float and on integers: a run's result among what else there was to have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from edgelr.data import Split
from edgelr.devices import Measurement
from edgelr.errors import BudgetError, DeviceError, MeasurementError
from edgelr.graph import Graph
from edgelr.graph.recurrent import layers
from edgelr.pipeline.budgets import cost_names
from edgelr.pipeline.files import planned, write
from edgelr.pipeline.fit import Fitting
from edgelr.pipeline.job import Job
from edgelr.pipeline.metrics import metric_of
from edgelr.pipeline.planning import Planned
from edgelr.pipeline.precision import Form, Precision
from edgelr.pipeline.produce import Product, outputs_of, run_file
from edgelr.quantization import observe
from edgelr.ranks import additive, total
from edgelr.report import FrontierPoint, Latency
from edgelr.report.frontier import CHOSEN
from edgelr.vocabulary import Budget, Format, Plan

SHARES = (0.5, 0.75, 0.25, 0.35)  # of the dense network's cost, those first that a larger network is left with
# Work is bounded by counted MACs, not by seconds; 5e11 are some 10 s of one core (estimated) for ResNet-20 and 1,000 samples.
WORK_MACS = 5e11
SAMPLES_MIN = 64
CALLS = 80  # that timing one file takes, and what sets it up
INT8 = 1 / 3  # an int8 MAC's time, of a float one's
IN_A_LOOP = 8  # a recurrent layer's MACs take so much longer than a convolution's, step after step
COSTS = {"macs": "MACs", "params": "parameters"}


@dataclass(frozen=True)
class Entry:
    """One plan: its float graph, its files in the numbers of the run and in float, and which numbers those of the run are."""

    plan: str
    graph: Graph
    files: Mapping[Format, bytes]
    floats: Mapping[Format, bytes]
    numbers: Mapping[Format, str]
    trained: bool = False


def frontier(job: Job, dense: Product, precision: Precision, found: Planned, product: Product, trained: bool) -> tuple[FrontierPoint, ...]:
    """Points of the dense network, of the result, and of plans at some shares of the first budget's cost; () where nothing was searched.

    ``precision`` is the dense network's. All are scored on the same samples, those that choices were made on, and timed side by side.
    """
    if found.prepared is None or job.settings.via == "stock":
        return ()
    macs = (job.source.macs or job.source.params) * (IN_A_LOOP if layers(job.source.graph) else 1)
    samples, shares = affordable(macs, len(job.settings.formats), min(job.settings.score_samples, len(_split(job)[0])))
    job.log.say(f"the result among {len(shares)} other budgets, on {samples} samples")
    entries = [_entry(job, "dense", dense, precision)]
    if product.plan.factorised() or trained:
        entries.append(_entry(job, CHOSEN, product, found.precision, trained))
    known = {dense.plan, product.plan}
    for share, plan in plans(job, found.prepared.fitting, shares):
        if plan not in known:
            known.add(plan)
            entries.append(_drafted(job, f"{share:.0%}", plan, found.precision))
    return tuple(_points(job, entries, samples))


def affordable(macs: int, formats: int, most: int) -> tuple[int, tuple[float, ...]]:
    """How many samples, at most ``most``, score a plan, and at which shares there are plans, so that all takes about ``WORK_MACS``."""
    each, fixed = 1 + formats * INT8, SAMPLES_MIN + formats * CALLS * (1 + INT8)
    samples = int((WORK_MACS / (max(1, macs) * (2 + len(SHARES))) - fixed) / each)
    samples = min(most, max(SAMPLES_MIN, samples))
    count = int(WORK_MACS / (max(1, macs) * (samples * each + fixed))) - 2
    return samples, SHARES[: max(0, count)]


def plans(job: Job, fitting: Fitting, shares: Sequence[float]) -> Iterator[tuple[float, Plan]]:
    """The additive optimum at shares of what the first budget limits, the largest share first; those that no plan meets are left out."""
    names = cost_names(_first_budget(job), list(job.machine.runtimes.values()), job.settings.formats)
    rows, base = fitting.table(), fitting.bases()
    whole = total(Plan(), rows, base)
    for share in sorted(shares, reverse=True):
        try:
            found = additive(rows, {n: share * whole[n] for n in names}, base)
        except BudgetError:
            continue
        yield share, job.factors.grouped.expanded(found.plan)


def _first_budget(job: Job) -> Budget:
    """The first budget; where a loss is tolerated instead, parameters are what is saved."""
    return job.settings.budgets[0] if job.settings.budgets else Budget("params", 1.0, "params", relative=True)


def _split(job: Job) -> tuple[Split, str]:
    if job.data.validation is not None:
        return job.data.validation, "validation"
    assert job.data.calibration is not None
    return job.data.calibration, "calibration"


def _entry(job: Job, plan: str, product: Product, precision: Precision, trained: bool = False) -> Entry:
    floats = write(_in_float(precision, job.settings.formats).quantized(product.graph, product.ranges, job.settings.formats))
    return Entry(plan, product.graph, product.files, floats, _numbers(precision, job.settings.formats), trained)


def _drafted(job: Job, name: str, plan: Plan, precision: Precision) -> Entry:
    """A plan that is looked at: ranges are those of one batch."""
    formats = job.settings.formats
    graph = planned(job.source.graph, plan, job.factors)
    ranges = observe(graph, islice(iter(job.calibration), 1), job.settings.calibration)
    files = write(precision.quantized(graph, ranges, formats))
    floats = write(_in_float(precision, formats).quantized(graph, ranges, formats))
    return Entry(name, graph, files, floats, _numbers(precision, formats))


def _in_float(precision: Precision, formats: Sequence[Format]) -> Precision:
    return replace(precision, forms={f: Form("float", precision.forms.get(f, Form()).recurrent) for f in formats})


def _numbers(precision: Precision, formats: Sequence[Format]) -> dict[Format, str]:
    return {f: precision.forms.get(f, Form()).numbers for f in formats}


def _points(job: Job, entries: Sequence[Entry], samples: int) -> Iterator[FrontierPoint]:
    whole, name = _split(job)
    split = whole.take(np.arange(min(samples, len(whole))))
    metric = metric_of("agreement" if split.y is None and ":" not in job.settings.metric else job.settings.metric, split)
    floats = {e.plan: outputs_of(e.graph, split) for e in entries}
    reference = floats["dense"]
    kind = _first_budget(job).kind
    cost = COSTS.get(kind, kind)
    for format in job.settings.formats:
        measured = _measured(job, entries, format)
        for e in entries:
            of = cost if e.plan.endswith("%") else ""
            for numbers, data in {"float": e.floats[format], e.numbers[format]: e.files[format]}.items():
                outputs = floats[e.plan] if numbers == "float" else run_file(data, format, split, e.graph)
                timing = measured.get(f"{e.plan} {numbers}") if measured else None
                score = metric.score(outputs, split.y, reference, name)
                yield FrontierPoint(
                    e.plan, numbers, format, len(data), score, "measured", Latency.of(timing) if timing else None, of, e.trained
                )


def _measured(job: Job, entries: Sequence[Entry], format: Format) -> Measurement | None:
    """All files of a format side by side; None where the target has no runtime for it, or they can't be timed now."""
    if format not in job.machine.runtimes:
        return None
    files = {f"{e.plan} {e.numbers[format]}": e.files[format] for e in entries} | {f"{e.plan} float": e.floats[format] for e in entries}
    try:
        return job.machine.together(files, format, rounds=10, min_seconds=0.1, seed=job.settings.seed)
    except (DeviceError, MeasurementError) as error:
        job.log.say(f"other budgets are not timed in {job.machine.runtimes[format]}: {error.what}")
        return None
