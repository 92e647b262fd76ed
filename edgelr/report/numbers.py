"""How number formats and training are told, once for the terminal and the page."""
from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from edgelr.report import words
from edgelr.report.contents import Artifact, Latency, Report
from edgelr.report.precision import Form, OpGroup, Reverted, Sensitivity, Training
from edgelr.report.training import TrainingStage

INTO, BACK = "into float: ", "back from float: "  # boundaries have the reason of the operation that they are there for
_RANKS = 6  # changed ones that are told by name
BY = {"choice": "by choice", "necessity": "of necessity"}


def operations(artifact: Artifact) -> str:
    """The operators of a file by their numbers; they are all of it."""
    ops = artifact.ops
    parts = {"int8": ops.int8, "dynamic": ops.dynamic, "float": ops.float, "other": ops.other}
    told = ", ".join(f"{n} {name}" for name, n in parts.items() if n or name == "int8")
    return f"{told}, of {sum(parts.values())}; {artifact.layout_ops} of layout"


@dataclass(frozen=True)
class Reason:
    """Operators of a file that don't compute on integers for one reason, their boundaries among them."""

    numbers: str
    by: str
    why: str
    count: int
    types: str


def reasons(groups: Iterable[OpGroup]) -> list[Reason]:
    """Why operators are dynamic or in float, the largest groups first."""
    types: dict[tuple[str, str, str], Counter[str]] = {}
    for g in groups:
        if g.numbers != "int8":
            why = g.why.removeprefix(INTO).removeprefix(BACK)
            types.setdefault((g.numbers, g.by, why), Counter())[g.type] += g.count
    rows = [Reason(numbers, BY[by], why, sum(found.values()), ", ".join(f"{n} {t}" for t, n in found.most_common()))
            for (numbers, by, why), found in types.items()]
    return sorted(rows, key=lambda r: -r.count)


def speeds(report: Report) -> list[str]:
    """A line for each file's latency: the float source's, the dense int8 network's and its own, where one of the first two is known."""
    lines = []
    for artifact in report.artifacts:
        for row in artifact.latency:
            dense = [x for d in report.dense if d.format == artifact.format for x in d.latency if _alike(x, row)]
            parts = _source(report, row) + [f"dense int8 {_ms(x)}" for x in dense[:1]]
            if parts:
                told = ", ".join([*parts, f"compressed {_ms(row)}"])
                lines.append(f"{row.runtime}, {words.threads(row.threads)}, {row.how}: {told}")
    return lines


def _source(report: Report, row: Latency) -> list[str]:
    """The float source in the same runtime, else in the one that it was timed in."""
    known = [x for x in report.source.latency if (x.on, x.how) == (row.on, row.how)]
    same = [x for x in known if _alike(x, row)]
    other = [f"float {_ms(x)} ({x.runtime}, {words.threads(x.threads)})" for x in known]
    return [f"float {_ms(x)}" for x in same[:1]] or other[:1]


def _alike(a: Latency, b: Latency) -> bool:
    return (a.on, a.runtime, a.threads, a.how) == (b.on, b.runtime, b.threads, b.how)


def _ms(row: Latency) -> str:
    return f"{words.three(row.ms.median)} ms"


def stage(report: Report, name: str) -> str:
    """A stage's name; a trained one says by which recipes."""
    recipes = [t.recipe for t in report.training_stages] + (["qat"] if report.training else [])
    told = ", ".join(dict.fromkeys("QAT" if r == "qat" else r for r in recipes))
    return f"trained ({told})" if name == "trained" and told else name


def trained(t: Training) -> str:
    return f"on its integer grid (QAT): {_effort(t.epochs, t.samples, t.seconds, t.loss_first, t.loss_last)}"


@dataclass(frozen=True)
class Trained:
    """One training as it is told: a heading, and a line for each fact."""

    name: str
    lines: tuple[str, ...]


def trainings(report: Report) -> list[Trained]:
    """Every training in its order. That on the integer grid is told once, wherever it stands in the report."""
    told = [_training_stage(t) for t in report.training_stages]
    alone = report.training is not None and all(t.recipe != "qat" for t in report.training_stages)
    return told + ([Trained("Trained " + trained(report.training), ())] if alone and report.training else [])


def _training_stage(t: TrainingStage) -> Trained:
    effort = _effort(t.epochs, t.samples, t.seconds, t.loss_first, t.loss_last)
    lines = [effort if t.rate is None else f"{effort}; learning rate {t.rate:g}"]
    if t.score_before or t.score_after:
        gained = words.points(t.score_before, t.score_after)
        before = words.percent(t.score_before.value) if t.score_before else words.NOT_MEASURED
        lines.append(f"{before} → {words.score(t.score_after)}" + (f" ({gained} points)" if gained else ""))
    if t.ranks:
        shown = ", ".join(f"{r.layer} {r.before} → {r.after}" for r in t.ranks[:_RANKS])
        more = f", {len(t.ranks) - _RANKS} more" if len(t.ranks) > _RANKS else ""
        lines.append(f"changed the choice of {'1 layer' if len(t.ranks) == 1 else f'{len(t.ranks)} layers'}: {shown}{more}")
    if t.why:
        lines.append(f"why: {t.why}")
    return Trained(f"{t.name[:1].upper()}{t.name[1:]} ({t.recipe})", tuple(lines))


def _effort(epochs: int, samples: int, seconds: float, first: float | None, last: float | None) -> str:
    told = f"{'1 epoch' if epochs == 1 else f'{epochs} epochs'} of {samples:,} samples in {seconds:,.0f} s"
    return told if first is None or last is None else f"{told}; loss {first:.4g} → {last:.4g}"


def noise(row: Form | Sensitivity) -> str:
    """An SQNR; an operation without one costs nothing."""
    if row.sqnr_db is not None:
        return f"{row.sqnr_db:.1f} dB"
    return words.NOT_MEASURED if isinstance(row, Form) and not row.exact else "no noise"


def form_latency(form: Form) -> str:
    return words.NOT_MEASURED if form.latency is None else f"{_ms(form.latency)} {form.latency.how}"


def drop(row: Reverted) -> str:
    return f"{row.drop_before:.2f} → {row.drop_after:.2f}"
