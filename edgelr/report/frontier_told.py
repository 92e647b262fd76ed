"""How a report's frontier is told: two charts for each format, a table, and a line of the summary."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edgelr.report import plots, words
from edgelr.report.contents import Report
from edgelr.report.frontier import CHOSEN, FrontierPoint


@dataclass(frozen=True)
class Frontier:
    """One format's frontier: ``charts`` are drawings as SVG, ``notes`` say what they rest on."""

    format: str
    charts: tuple[str, ...]
    points: tuple[FrontierPoint, ...]
    notes: tuple[str, ...]


def frontiers(report: Report) -> list[Frontier]:
    """For each format with two plans or more its charts: accuracy by bytes, and by milliseconds where these are known."""
    found = []
    for format in dict.fromkeys(p.format for p in report.frontier):
        points = [p for p in report.frontier if p.format == format]
        if len({p.plan for p in points}) > 1:
            timed = [p for p in points if p.latency is not None]
            charts = [plots.svg(_chart(points, "bytes"))] + ([plots.svg(_chart(timed, "ms"))] if len(timed) > 1 else [])
            found.append(Frontier(format, tuple(charts), tuple(points), tuple(_notes(points))))
    return found


def name(p: FrontierPoint) -> str:
    """A plan as a reader knows it."""
    return f"{p.plan.rstrip('%')} % of dense {p.cost}" if p.plan.endswith("%") else p.plan + (", trained" if p.trained else "")


def latency(p: FrontierPoint) -> str:
    return words.NOT_MEASURED if p.latency is None else f"{words.three(p.latency.ms.median)} ms"


def summary(report: Report) -> list[str]:
    """A line for each format: bytes and score of every plan in the numbers that its file computes in. The page has the rest."""
    lines = []
    for f in frontiers(report):
        own = [p for p in f.points if p.numbers != "float"] or list(f.points)
        told = ", ".join(f"{p.plan} {words.size(p.bytes)} {words.percent(p.score.value)}" for p in own)
        score = own[0].score
        lines.append(f".{f.format}, {own[0].numbers}, {score.metric} on {score.n:,} {score.split} samples: {told}")
    return lines


def _chart(points: Sequence[FrontierPoint], unit: Literal["bytes", "ms"]) -> plots.Chart:
    score, format = points[0].score, points[0].format
    lines = []
    for numbers in sorted({p.numbers for p in points}, key=lambda n: n != "float"):
        own = sorted((p for p in points if p.numbers == numbers), key=lambda p: _x(p, unit))
        lines.append(plots.Line(numbers, "before" if numbers == "float" else "after", tuple(_mark(p, unit) for p in own)))
    what = "bytes" if unit == "bytes" else "latency"
    return plots.Chart(
        f"{score.metric} by {what} of the .{format}",
        "; ".join(_told(p) for p in points),
        "bytes of the file, counted" if unit == "bytes" else f"latency, {_how(points)}",
        score.metric,
        unit,
        tuple(lines),
    )


def _x(p: FrontierPoint, unit: str) -> float:
    if unit == "bytes":
        return p.bytes
    assert p.latency is not None
    return p.latency.ms.median


def _mark(p: FrontierPoint, unit: str) -> plots.Mark:
    return plots.Mark(_x(p, unit), p.score.value, p.plan, _told(p), p.plan == CHOSEN, p.trained)


def _told(p: FrontierPoint) -> str:
    ms = f", {latency(p)} {p.latency.how}" if p.latency else ""
    return f"{name(p)}, {p.numbers}: {words.percent(p.score.value)}, {words.size(p.bytes)}{ms}"


def _how(points: Sequence[FrontierPoint]) -> str:
    return " and ".join(sorted({p.latency.how for p in points if p.latency}))


def _notes(points: Sequence[FrontierPoint]) -> list[str]:
    score = points[0].score
    notes = [f"{score.metric} on {score.n:,} {score.split} samples, which the choice was made on ({points[0].score_how}); bytes counted"]
    rows = [p.latency for p in points if p.latency]
    if rows:
        notes[0] += f"; milliseconds {_how(points)}: {rows[0].runtime}, {words.threads(rows[0].threads)}, on {rows[0].on}"
    shares = [p for p in points if p.plan.endswith("%")]
    if shares:
        trained = any(p.trained for p in points)
        notes.append(
            f"plans at a share of dense {shares[0].cost} are the additive optimum, without a search after it"
            + (", and were not trained, as the result was" if trained else "")
        )
    return notes
