"""compress(): the journey of a network, top to bottom."""

from __future__ import annotations

from torch import nn

from edgelr.data import Data
from edgelr.devices import Measurement, load_target
from edgelr.pipeline import candidates, telling
from edgelr.pipeline.finish import gates, write_out
from edgelr.pipeline.fit import measure_pair
from edgelr.pipeline.log import Log, Tell
from edgelr.pipeline.metrics import metric_of
from edgelr.pipeline.prepare import Prepared, prepare
from edgelr.pipeline.produce import Batches, judge, outputs_of, produce
from edgelr.pipeline.settings import Settings, preflight
from edgelr.pipeline.source import held_out, read
from edgelr.report import Report
from edgelr.vocabulary import Plan

REFITS = 3  # final files over a latency budget by noise are planned again this often


def compress(
    settings: Settings, *, model: nn.Module | None = None, data: Data | None = None, tell: Tell = lambda text: None, command: str = ""
) -> Report:
    """Compress a network to its budgets and write every file of the contract; the report is also returned.

    ``model`` and ``data`` stand in for ``settings.model`` and ``settings.data`` where they are given. Without budgets the dense
    network is quantised. Raises EdgelrError subclasses, each with the contract's exit code; nothing half-written is left.
    """
    log = Log(tell)
    out = preflight(settings.out, settings.force) if settings.out else None
    target = load_target(settings.target)
    machine = telling.machine_of(target, settings.formats)
    with log.stage("read"):
        source, data = read(settings, model, data)
        for warning in source.warnings:
            log.say(f"warning: {warning}")
        held, held_name = held_out(data)
        metric = metric_of(settings.metric, held)
        calibration = Batches(data, settings.calibration_samples)
    with log.stage("dense"):
        log.say(f"{source.name}: {len(source.all_layers)} layers with parameters, {source.params:,} parameters; writing dense int8")
        factors = candidates.Factors(source)
        dense = produce(source, Plan(), factors, calibration, settings)
        reference = outputs_of(source.graph, held)
        dense_judged = judge(dense, held, held_name, reference, metric, settings, source.macs)
        log.say("dense int8: " + telling.summary(dense.files, dense_judged))
    prepared: Prepared | None = None
    if settings.budgets and settings.method != "dense":
        prepared = prepare(settings, source, data, factors, dense.files, target, machine, log)
    product, fitted, measured = dense, None, dict[str, Measurement]()
    for _ in range(REFITS):
        if prepared is not None:
            with log.stage("choose"):
                fitted = prepared.fitting.fit()
            with log.stage("produce"):
                product = produce(source, fitted.plan, factors, calibration, settings) if fitted.plan.factorised() else dense
        with log.stage("measure"):
            measured = {
                r: measure_pair(dense.files[f], product.files[f], f, machine.on, machine.threads, settings.seed)
                for f, r in machine.runtimes.items()
            }
        if prepared is None or not prepared.fitting.still_over(product.plan, measured):
            break
    with log.stage("judge"):
        judged = dense_judged if product is dense else judge(product, held, held_name, reference, metric, settings, source.macs)
        factorised_outputs = outputs_of(product.graph, held) if product.plan.factorised() else None
    told = telling.Told(source, settings, target, machine, dense, dense_judged, product, judged, measured, fitted, prepared)
    report = told.report(metric, held, held_name, reference, factorised_outputs, log.seconds, command)
    gates(report, measured, settings, product.plan)
    if out is not None:
        log.say(f"writing {out}")
        write_out(out, report, product, source, settings, log)
    return report
