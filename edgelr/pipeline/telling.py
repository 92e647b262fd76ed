"""What a run knows, as a report: every number with its label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from edgelr.devices import Measurement
from edgelr.latency import FORMATS
from edgelr.pipeline import lines
from edgelr.pipeline.fit import Fitted
from edgelr.pipeline.forms import Tried
from edgelr.pipeline.job import Job
from edgelr.pipeline.lines import versions
from edgelr.pipeline.metrics import Outputs
from edgelr.pipeline.ondevice import There, strange
from edgelr.pipeline.prepare import Prepared, counted_costs
from edgelr.pipeline.produce import Judged, Product
from edgelr.pipeline.refine import Refined
from edgelr.pipeline.streaming import Step
from edgelr.pipeline.training.trainer import Training
from edgelr.report import Dense, Form, Latency, ModelFacts, Report, Reverted, Round, Search, Sensitivity, Stage, TargetFacts, TrainingStage
from edgelr.report import Source as SourceFacts
from edgelr.report import Training as QatTraining
from edgelr.vocabulary import Format

LOSS = 0.1  # points of score, as a fraction, beyond which a loss is told first of all


def losses(stages: Sequence[Stage]) -> list[str]:
    """What a user must not overlook: a stage that lost a large part of the score."""
    told = []
    if any(s.name == "trained" for s in stages):  # what training left of the loss counts, from the source on
        stages = [s for s in stages if s.name != "factorized"]
    for before, after in pairwise(stages):
        if before.score and after.score and before.score.value - after.score.value > LOSS:
            advice = {
                "factorized": "the budget is too tight without training: loosen it, or add --train finetune",
                "trained": "train longer with --epochs, or loosen the budget",
                "quantized": "try --qat, --calibration mse, or --max-drop",
            }
            fell = f"{after.score.metric} fell from {before.score.value:.1%} to {after.score.value:.1%} ({after.name})"
            told.append(f"{fell}; {advice.get(after.name, 'look at what came between')}")
    return told


@dataclass(frozen=True)
class Told:
    """The results of a run, to be told together."""

    job: Job
    dense: Product
    dense_judged: Mapping[Format, Judged]
    product: Product
    judged: Mapping[Format, Judged]
    measured: Mapping[str, Measurement]
    fitted: Fitted | None
    prepared: Prepared | None
    tried: Sequence[Tried]
    refined: Refined
    training: Training
    step: Step | None = None
    there: Mapping[Format, There] = field(default_factory=dict)

    def report(self, reference: Outputs, factorised: Outputs | None, trained: Outputs | None, command: str) -> Report:
        """The report; ``reference``, ``factorised`` and ``trained`` are float outputs of the network at each stage, on held-out data."""
        job, source, plan = self.job, self.job.source, self.product.plan
        metric, held, held_name, seconds = job.metric, job.held, job.held_name, job.log.seconds
        counted = counted_costs(source, plan)
        params, macs = int(counted["params"]), None if source.macs is None else int(counted["macs"])
        stages = [Stage("source", source.params, source.macs, metric.score(reference, held.y, reference, held_name))]
        if factorised is not None:
            stages.append(Stage("factorized", params, macs, metric.score(factorised, held.y, reference, held_name)))
        if trained is not None:
            stages.append(Stage("trained", params, macs, metric.score(trained, held.y, reference, held_name)))
        stages.append(Stage("quantized", params, macs, list(self.judged.values())[-1].score))
        runtimes = {f: r for f, r in job.machine.runtimes.items() if r in self.measured}
        fitting = self.prepared.fitting if self.prepared else None
        of_source = {"params": float(source.params), "macs": float(source.macs or 0)}
        return Report(
            edgelr=versions()["edgelr"],
            seed=job.settings.seed,
            versions=versions(),
            seconds=dict(seconds),
            model=ModelFacts(source.name, ((1, *source.shape),)),
            target=TargetFacts(job.target.name, "+".join(job.target.runtimes), job.machine.threads, job.device, self._conditions()),
            budgets=lines.budget_lines(
                job.settings.budgets, self.product.files, self.dense.files, self.measured, counted, of_source, job.machine
            ),
            source=SourceFacts(source.params, source.macs, source.float_bytes, stages[0].score, self._float_latency()),
            stages=tuple(stages),
            layers=lines.layer_lines(source, plan, fitting, self._why(), next(iter(runtimes.values()), "")),
            artifacts=tuple(
                replace(a, on_device=str(self.there[f]) if f in self.there else "")
                for f, a in zip(self.product.files, lines.artifacts(self.product.files, self.judged, self.measured, runtimes), strict=True)
            ),
            search=self._search(seconds),
            dense=tuple(
                Dense(f, len(d), self.dense_judged[f].score, (Latency.of(self.measured[runtimes[f]]["dense"]),) if f in runtimes else ())
                for f, d in self.dense.files.items()
            ),
            rounds=tuple(
                Round(i + 1, r, job.machine.on, x.predicted_ms[r], x.measured_ms[r], job.machine.how)
                for i, x in enumerate(self.fitted.rounds if self.fitted else ())
                for r in x.measured_ms
            ),
            warnings=(*losses(stages), *source.warnings, *self._doubts(), *job.machine.notes(), *strange(self.there), *self._notes()),
            command=command,
            steps=self.step.rows if self.step else (),
            **self._precision(),
        )

    def _why(self) -> dict[str, str]:
        """Why layers are as they are, where it isn't the search that says so."""
        told = dict(self.prepared.why) if self.prepared else {}
        for stage in self.training.stages:
            chosen = [r for r in stage.ranks if r.after == str(self.product.plan[r.layer])]
            told |= {r.layer: f"chosen anew by {stage.recipe} in training; the search had {r.before}" for r in chosen}
        return told

    def _on_the_grid(self) -> list[TrainingStage]:
        done = self.refined.trained
        return [TrainingStage("training on the integer grid", "qat", "asked for (--qat)", done.epochs, done.samples, done.seconds,
                              *done.losses)] if done else []  # fmt: skip

    def _notes(self) -> list[str]:
        own = self.refined.trained
        return [*self.training.notes, *(note for j in self.judged.values() for note in j.notes), *(own.notes if own else ())]

    def _precision(self) -> dict[str, Any]:
        """What the report tells of number formats."""
        kept = {r.name for r in self.refined.reverted}
        operations = {n.name: type(n.op).__name__ for n in self.product.graph.nodes}
        samples = "held-out samples"
        done = self.refined.trained
        return {
            "forms": tuple(Form(t.format, t.form.name, t.chosen, t.why, t.bytes, t.sqnr_db, Latency.of(t.latency)) for t in self.tried),
            "sensitivity": tuple(
                Sensitivity(n, operations.get(n, ""), db, self.refined.samples, n in kept, f"--keep-float '{n}'")
                for n, db in self.refined.sqnr_db.items()
            ),
            "reverted": tuple(Reverted(r.name, r.drop_before, r.drop_after, samples) for r in self.refined.reverted),
            "training_stages": (*self.training.stages, *self._on_the_grid()),
            "training": QatTraining("qat", done.epochs, done.samples, done.seconds, *done.losses) if done else None,
        }

    def _float_latency(self) -> tuple[Latency, ...]:
        return tuple(Latency.of(t.latency) for t in self.tried if t.form.name == "float")

    def _search(self, seconds: Mapping[str, float]) -> Search | None:
        if self.fitted is None:
            return None
        found = self.fitted.search
        return Search(
            found.method, self.fitted.evaluations, sum(seconds.get(s, 0.0) for s in ("sensitivity", "choose")), found.bound, found.gap
        )

    def _conditions(self) -> dict[str, str]:
        """Of the final measurements; what differs between runtimes is told for each."""
        found: dict[str, dict[str, str]] = {r: dict(m.conditions) for r, m in self.measured.items()}
        keys = dict.fromkeys(key for told in found.values() for key in told)
        told = {}
        for key in keys:
            values = {r: c[key] for r, c in found.items() if key in c}
            same = len(set(values.values())) == 1
            told[key] = next(iter(values.values())) if same else "; ".join(f"{r}: {v}" for r, v in values.items())
        return told

    def _doubts(self) -> list[str]:
        """What speaks against the final latencies: signs of a disturbed measurement, and a gain smaller than a table's error."""
        told = []
        for runtime, m in self.measured.items():
            more = f" ({len(m.flags) - 1} more such signs)" if len(m.flags) > 1 else ""
            told += [f"latencies in {runtime} may be off: {m.flags[0]}{more}"] if m.flags else []
            ratio, band = m.ratio("plan", "dense").median, self.job.machine.ratio_band(FORMATS[runtime])
            if self.product.plan.factorised() and ratio <= 1 < ratio * (1 + band):
                share = f"in {runtime} the network is {m['plan'].how} to take {ratio:.2f} of dense int8's time"
                told.append(f"{share}, and such ratios are right within {band:.0%}: it may be no faster")
        return told
