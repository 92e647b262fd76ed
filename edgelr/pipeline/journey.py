"""compress(): the journey of a network, top to bottom."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

from torch import nn

from edgelr.data import Data
from edgelr.pipeline.finish import gates, write_out
from edgelr.pipeline.forms import chosen_precision
from edgelr.pipeline.frontier import frontier
from edgelr.pipeline.job import Job, opened
from edgelr.pipeline.lines import summary
from edgelr.pipeline.log import Log, Tell
from edgelr.pipeline.ondevice import outputs_there
from edgelr.pipeline.planning import measured, planned_network
from edgelr.pipeline.produce import judge, outputs_of, produce
from edgelr.pipeline.refine import refine
from edgelr.pipeline.settings import Settings
from edgelr.pipeline.streaming import step_files
from edgelr.pipeline.telling import Told
from edgelr.pipeline.training.trainer import trained_network
from edgelr.pipeline.training.unfinished import Unfinished, told_how_to_resume
from edgelr.quantization import observe
from edgelr.report import Report
from edgelr.vocabulary import Plan


def compress(
    settings: Settings, *, model: nn.Module | None = None, data: Data | None = None, tell: Tell = lambda text: None, command: str = ""
) -> Report:
    """Compress a network to its budgets and write every file of the contract; the report is also returned.

    ``model`` and ``data`` stand in for ``settings.model`` and ``settings.data`` where they are given. Without budgets the dense
    network is quantised. Raises EdgelrError subclasses, each with the contract's exit code; nothing half-written is left.
    """
    unfinished = Unfinished.of(settings)
    job = opened(settings, model, data, Log(tell))
    with closing(job.machine), told_how_to_resume(unfinished):
        return journey(job, command, unfinished)


def journey(job: Job, command: str, unfinished: Unfinished) -> Report:
    """The journey of a network that is opened: what ``compress`` does, top to bottom."""
    settings, source, held, log = job.settings, job.source, job.held, job.log
    with log.stage("form"):
        ranges = observe(source.graph, job.calibration, settings.calibration)
        precision, tried = chosen_precision(job, ranges)
    with log.stage("dense"):
        log.say("writing the dense network")
        dense = produce(source, Plan(), job.factors, job.calibration, settings, precision, ranges)
        reference = outputs_of(source.graph, held)
        dense_judged = judge(dense, held, job.held_name, reference, job.metric, settings, source.macs)
        log.say("dense: " + summary(dense.files, dense_judged))
    planned = planned_network(job, dense, precision, unfinished)
    factorised = outputs_of(planned.product.graph, held) if planned.product.plan.factorised() else None
    planned, training = trained_network(job, dense, planned, unfinished)
    product, refined = refine(job, planned.product, planned.precision)
    latency = measured(job, dense, product) if refined.reverted else planned.measured
    with log.stage("judge"):
        judged = dense_judged if product is dense else judge(product, held, job.held_name, reference, job.metric, settings, source.macs)
        step = step_files(job, product)
        there = outputs_there(job, product)
        trained = outputs_of(product.graph, held) if refined.trained or training.used else None
    told = Told(
        job, dense, dense_judged, product, judged, latency, planned.fitted, planned.prepared, planned.tried or tried, refined, training,
        step, there,
    )
    report = told.report(reference, factorised, trained, command)
    gates(report, latency, settings, product.plan)
    with log.stage("frontier"):
        points = frontier(job, dense, precision, planned, product, trained=trained is not None)
    report = replace(report, frontier=points, seconds=dict(log.seconds))
    if job.out is not None:
        log.say(f"writing {job.out}")
        write_out(job.out, report, product, source, settings, log, step)
    unfinished.remove()
    return report
