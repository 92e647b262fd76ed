"""compress(): the journey of a network, top to bottom."""
from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from safetensors.torch import save as safetensors_bytes
from torch import nn

from edgelr.data import Data, Split
from edgelr.devices import Measurement, describe_host, load_target
from edgelr.errors import BudgetError, GateError, UsageError
from edgelr.latency import price, variants
from edgelr.pipeline import budgets as budget_rules
from edgelr.pipeline import candidates, files, telling
from edgelr.pipeline.fit import SLOWER, Fitted, Fitting, measure_pair
from edgelr.pipeline.metrics import metric_of
from edgelr.pipeline.outputs import save
from edgelr.pipeline.plans import to_toml as plan_toml
from edgelr.pipeline.produce import judge, outputs_of, produce
from edgelr.pipeline.scorer import GraphScorer
from edgelr.pipeline.search import Searcher
from edgelr.pipeline.settings import Settings, preflight
from edgelr.pipeline.settings import to_toml as settings_toml
from edgelr.pipeline.source import BATCH, Source, first, gathered, read
from edgelr.ranks import Search as FoundBy
from edgelr.report import Dense, Latency, ModelFacts, Report, Round, Search, Stage, TargetFacts, to_json
from edgelr.report import Source as SourceFacts
from edgelr.vocabulary import DENSE, Choice, Plan

Tell = Callable[[str], None]
REFITS = 3  # a final file over its latency budget by noise is planned again this often


@dataclass
class Log:
    """What happened, stage by stage: told as it happens, kept for log.jsonl, timed for the report."""

    tell: Tell
    seconds: dict[str, float] = field(default_factory=dict)
    events: list[dict[str, object]] = field(default_factory=list)
    started: float = field(default_factory=time.perf_counter)

    def say(self, text: str) -> None:
        self.events.append({"seconds": round(time.perf_counter() - self.started, 3), "text": text})
        self.tell(text)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def compress(settings: Settings, *, model: nn.Module | None = None, data: Data | None = None, tell: Tell = lambda text: None, command: str = "") -> Report:
    """Compress a network to its budgets and write every file of the contract; the report is also returned.

    ``model`` and ``data`` stand in for ``settings.model`` and ``settings.data`` where they are given. Without budgets the dense
    network is quantised. Raises EdgelrError subclasses, each with the contract's exit code; nothing half-written is left.
    """
    log = Log(tell)
    out = preflight(settings.out, settings.force) if settings.out else None
    target = load_target(settings.target)
    runtimes = telling.runtimes_of(target, settings.formats)
    host = describe_host()
    on = str(host["cpu"])
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
        dense_judged = judge(dense, held, held_name, reference, metric, settings)
        log.say("dense int8: " + ", ".join(f".{f} {len(d) / 1e3:.1f} KB, {j.score.metric} {j.score.value:.4f}" for (f, d), j in
                                           zip(dense.files.items(), dense_judged.values(), strict=True)))
    fitting, why = None, {}
    if settings.budgets and settings.method != "dense":
        fitting, why = prepare(settings, source, data, factors, dense.files, runtimes, on, target.threads, max(target.rank_steps.values()), log)
    product, fitted, measured = dense, None, {}
    for attempt in range(REFITS):
        if fitting is not None:
            with log.stage("choose"):
                fitted = fitting.fit()
            with log.stage("produce"):
                product = produce(source, fitted.plan, factors, calibration, settings) if fitted.plan.factorised() else dense
        with log.stage("measure"):
            measured = {r: measure_pair(dense.files[f], product.files[f], f, on, target.threads, settings.seed) for f, r in runtimes.items()}
        if fitting is None or not fitting.still_over(measured) or attempt == REFITS - 1:
            break
    with log.stage("judge"):
        judged = judge(product, held, held_name, reference, metric, settings) if product is not dense else dense_judged
    counted = counted_costs(source, product.plan)
    dense_costs = {"params": float(source.params), "macs": float(source.macs or 0)}
    lines = telling.budget_lines(settings.budgets, product.files, dense.files, measured, counted, dense_costs, on)
    table = fitting.table() if fitting else {}
    main_runtime = next(iter(runtimes.values()), "")
    stages = (Stage("source", source.params, source.macs, metric.score(reference, held.y, reference, held_name)),
              *((Stage("factorized", int(counted["params"]), int(counted["macs"]),
                       metric.score(outputs_of(product.graph, held), held.y, reference, held_name)),) if product.plan.factorised() else ()),
              Stage("quantized", int(counted["params"]), int(counted["macs"]), next(iter(reversed(judged.values()))).score))
    report = Report(
        edgelr=telling.versions()["edgelr"], seed=settings.seed, versions=telling.versions(), seconds=log.seconds,
        model=ModelFacts(source.name, ((1, *source.shape),)),
        target=TargetFacts(target.name, "+".join(target.runtimes), target.threads, on),
        budgets=lines, source=SourceFacts(source.params, source.macs, source.float_bytes, stages[0].score), stages=stages,
        layers=telling.layer_lines(source, product.plan, table, fitting, why, main_runtime),
        artifacts=telling.artifacts(product.files, judged, measured, {f: runtimes.get(f, "") for f in settings.formats}),
        search=told_search(fitted, log),
        dense=tuple(Dense(f, len(d), dense_judged[f].score, (Latency.of(measured[runtimes[f]]["dense"]),) if f in runtimes else ())
                    for f, d in dense.files.items()),
        rounds=tuple(Round(i + 1, r, on, x.predicted_ms[r], x.measured_ms[r]) for i, x in enumerate(fitted.rounds if fitted else ()) for r in x.measured_ms),
        warnings=source.warnings, command=command,
    )
    gates(report, measured, settings, product.plan)
    if out is not None:
        with log.stage("write"):
            write_out(out, report, product.files, product.model, product.plan, source, settings, log)
    return report


@dataclass(frozen=True)
class Batches:
    """Calibration batches that can be gone through again and again; memory is one batch."""

    data: Data
    samples: int

    def __iter__(self) -> Iterator[object]:
        assert self.data.calibration is not None
        return first(self.data.calibration, self.samples)


def held_out(data: Data) -> tuple[Split, str]:
    """What results are reported on: the test part, else validation, else (said so) the calibration samples."""
    parts = data.parts()
    name = next(n for n in ("test", "validation", "calibration") if n in parts)
    return parts[name], name


def prepare(settings: Settings, source: Source, data: Data, factors: candidates.Factors, dense_files: dict[str, bytes], runtimes: dict[str, str],
            on: str, threads: int, steps: int, log: Log) -> tuple[Fitting, dict[str, str]]:
    """Decompose, price and measure every candidate."""
    never_slower = not settings.allow_slower
    kinds = {n for b in settings.budgets for n in budget_rules.cost_names(b, list(runtimes.values()), settings.formats)}
    if source.macs is None and "macs" in kinds:
        raise UsageError("the network's MACs are not known", "; ".join(source.warnings), "give another budget: ms, KB or params")
    with log.stage("factorize"):
        able, why = candidates.factorisable(source.layers, source.graph, source.folded)
        options = candidates.choices(able, settings.schemes, steps, sorted(kinds))
        why |= {w.name: f"no rank on this target's steps of {steps} costs less than dense" for w in able if w.name not in options}
        log.say(f"{len(options)} of {len(source.layers)} layers have candidates: {sum(map(len, options.values()))} choices; decomposing")
        factors.prepare([w for w in able if w.name in options], settings.schemes, lambda: list(first(data.calibration, settings.calibration_samples)))  # type: ignore[arg-type]
        sizes = files.sizes(source.graph, options, factors, settings.formats)
    prices = {}
    with log.stage("price"):
        if never_slower or any(k.startswith("us:") for k in kinds):
            plans = variants(options)
            written = {plan: files.draft(files.planned(source.graph, plan, factors), settings.formats) for plan in plans}
            for format, runtime in runtimes.items():
                log.say(f"pricing {len(plans)} variants of the whole network in {runtime}")
                prices[runtime] = price({p: w[format] for p, w in written.items()}, options, runtime=runtime, on=on, threads=threads, seed=settings.seed)
    dense_costs = {"params": float(source.params), "macs": float(source.macs or 0), **{f"bytes:{f}": float(len(d)) for f, d in dense_files.items()},
                   **{f"us:{r}": p.predicted_us(Plan(), options) for r, p in prices.items()}}
    limits = budget_rules.limits(settings.budgets, dense_costs, list(runtimes.values()), settings.formats)
    shares = {k: v / dense_costs[k] for k, v in budget_rules.limits([b for b in settings.budgets if b.relative and b.kind == "latency"], dense_costs,
                                                                    list(runtimes.values()), settings.formats).items()}
    folded = counted_costs(source, Plan())
    inside = {"params": 0.0, "macs": 0.0}
    by_name = {w.name: w for w in source.layers}
    for name in options:
        for key, value in zip(inside, candidates.choice_cost(by_name[name], DENSE), strict=True):
            inside[key] += value
    base = {k: folded[k] - inside[k] for k in inside} | {f"bytes:{f}": len(d) - sum(sizes[n, DENSE][f] for n in options) for f, d in dense_files.items()}
    with log.stage("sensitivity"):
        scored = data.validation or data.calibration
        x, y = gathered(scored, settings.score_samples)  # type: ignore[arg-type]
        scorer = GraphScorer(source.graph, x, y if metric_labels(settings) else None, factors.product)
        searcher = Searcher(settings.method, scorer, factors, source.macs or source.params)
        log.say(f"measuring what each choice does to the outputs of {len(x)} held-out samples")
        searcher.prepare(options)
    return Fitting(source, able, options, factors, searcher, limits, base, sizes, prices, dense_files, on, threads, never_slower,
                   shares, settings.seed, log.say), why


def metric_labels(settings: Settings) -> bool:
    """Whether the search's score uses labels."""
    return settings.metric != "agreement"


def counted_costs(source: Source, plan: Plan) -> dict[str, float]:
    """Parameters and MACs of the folded network under a plan: counted by closed form."""
    totals = {"params": 0.0, "macs": 0.0}
    for layer in source.layers:
        choice: Choice = plan[layer.name]
        params, macs = candidates.choice_cost(layer, choice) if choice != DENSE else (layer.params, layer.macs or 0)
        totals["params"] += params
        totals["macs"] += macs
    return totals


def told_search(fitted: Fitted | None, log: Log) -> Search | None:
    if fitted is None:
        return None
    found: FoundBy = fitted.search
    seconds = sum(log.seconds.get(s, 0.0) for s in ("sensitivity", "choose"))
    return Search(found.method, fitted.evaluations, seconds, found.bound, found.gap)


def gates(report: Report, measured: dict[str, Measurement], settings: Settings, plan: Plan) -> None:
    """Raises BudgetError where a budget isn't met as measured or counted, GateError where the plan is slower than dense int8."""
    for line in report.budgets:
        if not line.met:
            raise BudgetError(f"the budget {line.asked} is not met", f"{line.value:.4g} {line.unit} on {line.on} ({line.how}), limit {line.limit:.4g}",
                              f"ask for {line.value * 1.02:.3g} {line.unit}, or a looser share", {line.kind: line.value})
    for runtime, m in measured.items():
        ratio = m.ratio("plan", "dense").median
        if plan.factorised() and ratio > SLOWER and not settings.allow_slower:
            raise GateError(f"the compressed network is slower than dense int8 in {runtime}", f"{ratio:.2f} times as slow, measured side by side",
                            "loosen the budget, or add --allow-slower")


def write_out(out: Path, report: Report, written: dict[str, bytes], model: nn.Module, plan: Plan, source: Source, settings: Settings, log: Log) -> None:
    """All files of the contract."""
    from edgelr.report.page import to_html

    named = Plan({w.name: plan[w.name] for w in source.layers if w.schemes})
    log.say(f"writing {out}")
    contents = {f"model.int8.{f}": d for f, d in written.items()}
    contents["model.safetensors"] = safetensors_bytes({k: v.contiguous() for k, v in model.state_dict().items()})
    contents |= {name: text.encode() for name, text in {
        "plan.toml": plan_toml(named, source.name, source.shape), "report.json": to_json(report), "report.html": to_html(report),
        "run.toml": settings_toml(replace(settings, model=settings.model or source.name)),
        "log.jsonl": "".join(json.dumps(event, ensure_ascii=False) + "\n" for event in log.events)}.items()}
    save(out, contents)
