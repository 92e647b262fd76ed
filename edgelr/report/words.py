"""How numbers are told, once for the terminal and the page. What is not known is said, never left blank."""
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from edgelr.report.contents import Artifact, Latency, LayerLine, Report, TargetFacts
from edgelr.vocabulary import Score

NOT_MEASURED = "not measured"
NOT_KNOWN = "not known"


def printable(text: str) -> str:
    """Text without control characters: a layer's or device's name must not steer a terminal or a page."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def count(n: int | None) -> str:
    """A count in three figures: 271,098 as 271 k, 40,813,184 as 40.8 M."""
    if n is None:
        return NOT_KNOWN
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if n >= size:
            return three(n / size) + unit
    return str(n)


def size(n: int) -> str:
    """Bytes in decimal units: 1 KB is 1,000 bytes."""
    for unit_size, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "KB")):
        if n >= unit_size:
            return f"{three(n / unit_size)} {unit}"
    return f"{n} B"


def amount(value: float, unit: str) -> str:
    """A value in the unit of its budget, in more figures, so that a near miss shows."""
    return f"{value:,.5g} {unit}"


def three(x: float) -> str:
    """Three figures, and all of the whole part."""
    return f"{x:,.0f}" if abs(x) >= 100 else f"{x:.1f}" if abs(x) >= 10 else f"{x:.2f}" if abs(x) >= 1 else f"{x:.3f}"


def microseconds(us: float | None) -> str:
    return NOT_MEASURED if us is None else f"{us:,.0f}" if abs(us) >= 100 else f"{us:.1f}"


def percent(fraction: float | None) -> str:
    return NOT_MEASURED if fraction is None else f"{100 * fraction:.2f} %"


def change(before: float, after: float) -> str:
    """What changed, signed: 0.40 to 0.30 is −25.0 %."""
    if before <= 0:
        return ""
    delta = 100 * (after / before - 1)
    return f"{'+' if delta > 0 else '−' if delta < 0 else '±'}{abs(delta):.1f} %"  # noqa: RUF001 — a minus sign is what it says


def points(before: Score | None, after: Score | None) -> str:
    """The change of a score in points, where both were taken by the same metric on the same split."""
    if before is None or after is None or (before.metric, before.split) != (after.metric, after.split):
        return ""
    delta = 100 * (after.value - before.value)
    return f"{'+' if delta > 0 else '−' if delta < 0 else '±'}{abs(delta):.2f}"  # noqa: RUF001


def score(s: Score | None, how: str = "") -> str:
    if s is None:
        return NOT_MEASURED
    return f"{percent(s.value)} {s.metric}, {s.split}, n = {s.n:,}" + (f", {how}" if how else "")


def milliseconds(row: Latency) -> str:
    """Median and spread over ``n`` calls; without calls, the value and what it may be off by."""
    if row.ms.n == 0:
        return f"{three(row.ms.median)} ms ({three(row.ms.p10)} to {three(row.ms.p90)} to be expected)"
    return f"{three(row.ms.median)} ms ({three(row.ms.p10)} to {three(row.ms.p90)}, n = {row.ms.n:,})"


def conditions(target: TargetFacts) -> str:
    """What measurements rest on, in a line."""
    return ", ".join(f"{name} {value}" for name, value in target.conditions.items())


def threads(n: int) -> str:
    return "1 thread" if n == 1 else f"{n} threads"


def choice(layer: LayerLine) -> str:
    if layer.rank is None:
        return layer.scheme
    shared = f", shared: {layer.share}" if layer.share else ""
    return f"{layer.scheme} r{layer.rank}" + (f"/{layer.full_rank}" if layer.full_rank is not None else "") + shared


def sqnr(artifact: Artifact) -> str:
    if artifact.exact:
        return "bit for bit"
    return NOT_MEASURED if artifact.sqnr_db is None else f"{artifact.sqnr_db:.1f} dB"


def layers_how(report: Report) -> str:
    """How the layers' latencies are known, where all are known alike; else ""."""
    labels = {line.latency_us.how for line in report.layers if line.latency_us}
    return labels.pop() if len(labels) == 1 else ""


@dataclass(frozen=True)
class Saving:
    """One cost, before and after. ``how`` labels it."""

    what: str
    before: str
    after: str
    change: str
    how: str


def savings(report: Report) -> list[Saving]:
    """What was saved: the latencies first, then sizes, parameters and MACs.

    Latency rows are always among them, since fewer MACs or parameters say nothing of speed by themselves.
    """
    rows: list[Saving] = []
    for artifact in report.artifacts:
        for after in artifact.latency:
            what = f"latency, {after.runtime} on {after.on}"
            told = f"{three(after.ms.median)} ms"
            if found := report.baseline(after, artifact.format):
                name, before = found
                was, now = before.ms.median, after.ms.median
                rows.append(Saving(what, f"{three(was)} ms {name}", told, change(was, now), after.how))
            else:
                rows.append(Saving(what, NOT_MEASURED, told, "", after.how))
    if not rows:
        rows.append(Saving("latency", NOT_MEASURED, NOT_MEASURED, "", ""))
    dense = {d.format: d for d in report.dense}
    for artifact in report.artifacts:
        same = dense.get(artifact.format)
        n, name = (same.bytes, "dense int8") if same else (report.source.float_bytes, "float")
        rows.append(Saving(f"{artifact.format} file", f"{size(n)} {name}", size(artifact.bytes), change(n, artifact.bytes), "counted"))
    if report.stages:
        last, source = report.stages[-1], report.source
        rows.append(Saving("parameters", count(source.params), count(last.params), change(source.params, last.params), "counted"))
        macs = "" if source.macs is None or last.macs is None else change(source.macs, last.macs)
        rows.append(Saving("MACs", count(source.macs), count(last.macs), macs, "counted"))
    return rows


def factorised(layers: Iterable[LayerLine]) -> list[LayerLine]:
    return [line for line in layers if line.scheme != "dense"]


def asked(report: Report) -> str:
    """One sentence: what was asked, and whether it holds."""
    if not report.budgets:
        return "No budget was asked for."
    return "Every budget is met." if report.met else "Not every budget is met."
