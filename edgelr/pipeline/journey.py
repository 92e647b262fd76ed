"""compress(): the journey of a network, top to bottom."""

from __future__ import annotations

from torch import nn

from edgelr.data import Data
from edgelr.devices import Measurement, load_target
from edgelr.pipeline import candidates, telling
from edgelr.pipeline.finish import gates, write_out
from edgelr.pipeline.forms import chosen_precision, dynamic_refused
from edgelr.pipeline.log import Log, Tell
from edgelr.pipeline.machine import measured_pairs
from edgelr.pipeline.metrics import metric_of
from edgelr.pipeline.planning import prepared_first, respelled, spellings
from edgelr.pipeline.prepare import Prepared, prepare
from edgelr.pipeline.produce import Batches, judge, outputs_of, produce
from edgelr.pipeline.refine import refine
from edgelr.pipeline.settings import Settings, preflight
from edgelr.pipeline.source import held_out, read
from edgelr.pipeline.streaming import steps
from edgelr.quantization import observe
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
        factors = candidates.Factors(source)
    with log.stage("form"):
        log.say(f"{source.name}: {len(source.all_layers)} layers with parameters, {source.params:,} parameters")
        ranges = observe(source.graph, calibration, settings.calibration)
        precision, tried = chosen_precision(source, ranges, calibration, settings, target, machine, log)
    with log.stage("dense"):
        log.say("writing the dense network")
        dense = produce(source, Plan(), factors, calibration, settings, precision, ranges)
        reference = outputs_of(source.graph, held)
        dense_judged = judge(dense, held, held_name, reference, metric, settings, source.macs)
        log.say("dense: " + telling.summary(dense.files, dense_judged))
    prepared: Prepared | None = None
    if settings.budgets and settings.method != "dense":
        spelled = spellings(precision, source, settings)
        prepared, precision = prepared_first(
            spelled, lambda p: prepare(settings, source, data, factors, dense.files, target, machine, p, log), log
        )
    product, fitted, measured = dense, None, dict[str, Measurement]()
    for _ in range(REFITS):
        if prepared is not None:
            with log.stage("choose"):
                fitted = prepared.fitting.fit()
            with log.stage("produce"):
                plan = fitted.plan
                product = produce(source, plan, factors, calibration, settings, precision) if plan.factorised() else dense
                product, precision, again = respelled(
                    product, precision, dense.files, source, calibration, settings, machine, target, log
                )
                tried = again or tried
        with log.stage("measure"):
            measured = measured_pairs(dense.files, product.files, machine, settings.seed)
        if prepared is None or not prepared.fitting.still_over(product.plan, measured):
            break
    factorised_outputs = outputs_of(product.graph, held) if product.plan.factorised() else None
    product, refined = refine(product, precision, source, data, settings, log)
    with log.stage("measure"):
        measured = measured_pairs(dense.files, product.files, machine, settings.seed) if refined.reverted else measured
    with log.stage("judge"):
        judged = dense_judged if product is dense else judge(product, held, held_name, reference, metric, settings, source.macs)
        refused = dynamic_refused(target, machine)
        step = steps(product, held, settings, machine, refused, target.weight_max) if settings.streaming else None
        trained_outputs = outputs_of(product.graph, held) if refined.trained else None
    told = telling.Told(source, settings, target, machine, dense, dense_judged, product, judged, measured, fitted, prepared, tried, refined, step)
    report = told.report(metric, held, held_name, reference, factorised_outputs, trained_outputs, log.seconds, command)
    gates(report, measured, settings, product.plan)
    if out is not None:
        log.say(f"writing {out}")
        write_out(out, report, product, source, settings, log, step)
    return report
