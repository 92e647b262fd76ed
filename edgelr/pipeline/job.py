"""What a run works on, opened and checked before any work: every room of the journey gets it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from edgelr.data import Data, Split
from edgelr.devices import Target
from edgelr.latency import Machine
from edgelr.pipeline.candidates import Factors
from edgelr.pipeline.log import Log
from edgelr.pipeline.machine import machine_of, place_of
from edgelr.pipeline.metrics import Metric, metric_of
from edgelr.pipeline.produce import Batches
from edgelr.pipeline.settings import Settings, preflight
from edgelr.pipeline.source import Source, held_out, read
from edgelr.pipeline.training.samples import check_recipe


@dataclass(frozen=True)
class Job:
    """``out`` is the folder to write, None for none. Results are told on ``held``, which nothing that chooses ever sees.

    ``address`` is how the target's device is reached, "" for none.
    """

    settings: Settings
    out: Path | None
    target: Target
    machine: Machine
    source: Source
    data: Data
    held: Split
    held_name: str
    metric: Metric
    calibration: Batches
    factors: Factors
    log: Log
    address: str = ""

    @property
    def device(self) -> str:
        """The device that latencies are measured on; "" where they are read from tables."""
        return self.machine.on if self.machine.how == "measured" else ""

    @property
    def dynamic_refused(self) -> str:
        """Why no file of this run may have the dynamic form; "" where it may."""
        return "; ".join(filter(None, (self.target.dynamic_refused(r) for r in self.machine.runtimes.values())))


def opened(settings: Settings, model: nn.Module | None, data: Data | None, log: Log) -> Job:
    """Read network and data, and check everything that can be known before work. Raises UsageError and BadInputError."""
    out = preflight(settings.out, settings.force) if settings.out else None
    place = place_of(settings.target)
    target = place.target
    if target.name == "host" and target.weight_bits == 7:
        log.say("note: 7-bit weights, since this processor has no VNNI and its int8 kernels saturate with 8")
    machine = machine_of(place, settings.formats, strict=settings.strict, table=settings.table)
    with log.stage("read"):
        source, data = read(settings, model, data)
        check_recipe(settings, data)
        for warning in source.warnings:
            log.say(f"warning: {warning}")
        held, held_name = held_out(data)
        metric = metric_of(settings.metric, held)
        log.say(f"{source.name}: {len(source.all_layers)} layers with parameters, {source.params:,} parameters")
    calibration = Batches(data, settings.calibration_samples)
    return Job(settings, out, target, machine, source, data, held, held_name, metric, calibration, Factors(source), log, place.address)
