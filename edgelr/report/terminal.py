"""The summary on the terminal, in 80 columns. rich leaves colours out where NO_COLOR is set or the output is a file."""
from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from edgelr.report import frontier_told, numbers, words
from edgelr.report.contents import Report

_LONG = 24  # layers; a longer table is folded to what was factorised
_WORST = 5  # operations that integers cost most; the page has all
_REASONS = 6  # of a file's operators that are not int8; the page has all


def show(report: Report, console: Console | None = None) -> None:
    """Print the summary, on standard output unless a console is given."""
    (console or Console()).print(summary(report))


def summary(report: Report) -> Group:
    """The summary as something rich can print."""
    parts: list[RenderableType] = [_text(f"! {w}", "bold yellow") for w in report.warnings]
    target = report.target
    where = f"{target.name}, {target.runtime}, {words.threads(target.threads)}" + (f", {target.device}" if target.device else "")
    parts.append(_text(f"{report.model.name} for {where}", "bold"))
    parts += [_text(f"measured with {words.conditions(target)}", "dim")] if target.conditions else []
    parts += [_text(words.asked(report), "green" if report.met else "bold red"), _text(""), *_budgets(report)]
    results = (_savings(report), *_speeds(report), _accuracy(report), *_training(report), *_frontier(report))
    for part in (*results, *_precision(report), *_layers(report)):
        parts += [_text(""), part]
    return Group(*parts, _text(""), *_artifacts(report))


def _text(text: str, style: str = "") -> Text:
    return Text(words.printable(text), style=style)


def _table(title: str, *columns: tuple[str, str]) -> Table:
    """A table; each column is its heading and "left", "right" or "name" (folds anywhere)."""
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading, kind in columns:
        right = kind == "right"
        table.add_column(heading, justify="right" if right else "left", overflow="fold", no_wrap=right)
    return table


def _budgets(report: Report) -> list[RenderableType]:
    if not report.budgets:
        return []
    table = _table("Budgets", ("budget", "left"), ("limit", "right"), ("is", "right"), ("", "left"), ("how, on", "left"))
    for line in report.budgets:
        met = Text("met", style="green") if line.met else Text("NOT MET", style="bold red")
        kind = line.kind + (f" {line.asked}" if line.asked else "")
        limit, value = words.amount(line.limit, line.unit), words.amount(line.value, line.unit)
        how = f"{line.how} ±{line.band:.0%}" if line.band else line.how
        table.add_row(_text(kind), _text(limit), _text(value), met, _text(f"{how}, {line.on}" if line.on else how))
    return [table]


def _savings(report: Report) -> Table:
    table = _table("Costs", ("", "left"), ("before", "left"), ("now", "right"), ("change", "right"), ("how", "left"))
    for row in words.savings(report):
        table.add_row(_text(row.what), _text(row.before), _text(row.after), _text(row.change), _text(row.how))
    return table


def _accuracy(report: Report) -> Table:
    table = _table("Accuracy by stage", ("stage", "left"), ("score", "left"), ("points", "right"))
    for stage in report.stages:
        points = "" if stage.name == "source" else words.points(report.source.score, stage.score)
        table.add_row(numbers.stage(report, stage.name), _text(words.score(stage.score, stage.score_how)), points)
    return table


def _speeds(report: Report) -> list[RenderableType]:
    lines = numbers.speeds(report)
    return [Group(_text("Latency", "bold"), *map(_line, lines))] if lines else []


def _training(report: Report) -> list[RenderableType]:
    parts: list[RenderableType] = []
    for t in numbers.trainings(report):
        parts += [_text(t.name, "bold" if t.lines else ""), *map(_line, t.lines)]
    return [Group(*parts)] if parts else []


def _frontier(report: Report) -> list[RenderableType]:
    lines = frontier_told.summary(report)
    return [Group(_text("Other budgets", "bold"), *map(_line, lines))] if lines else []


def _precision(report: Report) -> list[RenderableType]:
    """The forms tried, what integers cost, and what went back to float for it."""
    parts: list[RenderableType] = []
    if report.forms:
        columns = (("file", "left"), ("form", "left"), ("bytes", "right"), ("SQNR", "left"), ("latency", "left"), ("why", "left"))
        table = _table("Forms tried, and the one chosen for each file", *columns)
        for f in report.forms:
            name = f"✓ {f.name}" if f.chosen else f.name
            cells = (f.format, name, words.size(f.bytes), numbers.noise(f), numbers.form_latency(f), f.why)
            table.add_row(*(_text(c) for c in cells), style="" if f.chosen else "dim")
        parts.append(table)
    if report.sensitivity:
        worst, n = report.sensitivity[:_WORST], len(report.sensitivity)
        title = "What integers cost, one operation at a time" + (f": the {_WORST} worst of {n}" if n > _WORST else "")
        table = _table(title, ("operation", "name"), ("SQNR", "right"), ("to keep it in float", "name"))
        for s in worst:
            table.add_row(_text(f"{s.name} ({s.kind})"), _text(numbers.noise(s)), _text("it is" if s.kept else s.flag))
        parts.append(Group(table, _line(f"of the network's output, {worst[0].how} on {worst[0].n:,} samples")))
    if report.reverted:
        table = _table("Back to float for --max-drop", ("operation", "name"), ("drop, points", "right"), ("on", "left"))
        for r in report.reverted:
            table.add_row(_text(r.name), _text(numbers.drop(r)), _text(f"{r.on}, {r.how}"))
        parts.append(table)
    return parts


def _layers(report: Report) -> list[RenderableType]:
    chosen = words.factorised(report.layers)
    dense = len(report.layers) - len(chosen)
    folded = len(report.layers) > _LONG
    told = chosen if folded else report.layers
    note = f"Layers: {len(chosen)} factorised, {dense} dense" + (" (dense ones not shown)" if folded and dense else "")
    if not told:
        return [_text(note, "bold")]
    how = words.layers_how(report)
    heading = "us dense → now" + (f",\n{how}" if how else "")
    table = _table(note, ("layer", "name"), ("becomes", "left"), ("bytes", "right"), (heading, "left"), ("why", "left"))
    for line in told:
        us = line.latency_us
        latency = words.NOT_MEASURED if us is None else f"{words.microseconds(us.dense)} → {words.microseconds(us.chosen)}"
        if us is not None and not how:
            latency += f" {us.how}"
        style = "" if line.scheme != "dense" else "dim"
        cells = (line.name, words.choice(line), words.size(line.bytes), latency, line.why)
        table.add_row(*(_text(c) for c in cells), style=style)
    return [table]


def _artifacts(report: Report) -> list[RenderableType]:
    parts: list[RenderableType] = [_text("")] if report.steps else []
    for a in report.steps:
        parts.append(_text(f"{a.path}  {a.bytes:,} bytes: one step, states in and out", "bold"))
        parts += [_line(f"{words.milliseconds(x)} a step, {x.how}: {x.runtime}, on {x.on}") for x in a.latency]
        parts.append(_line(f"against {a.reference}: {words.sqnr(a)}"))
    for a in report.artifacts:
        parts.append(_text(f"{a.path}  {a.bytes:,} bytes", "bold"))
        for x in a.latency:
            parts.append(_line(f"{words.milliseconds(x)}, {x.how}: {x.runtime}, {words.threads(x.threads)}, on {x.on}"))
        if not a.latency:
            parts.append(_line(f"latency {words.NOT_MEASURED}"))
        parts.append(_line(f"score {words.score(a.score, a.score_how)}"))
        parts.append(_line(f"agreement with the source {words.percent(a.agreement)}"))
        parts.append(_line(f"against {a.reference or 'its reference'}: {words.sqnr(a)}"))
        if a.on_device:
            parts.append(_line(a.on_device))
        parts.append(_line(f"operations: {numbers.operations(a)}"))
        told = numbers.reasons(a.accounting)
        parts += [_line(f"  {r.count} {r.numbers} {r.by}: {r.why}") for r in told[:_REASONS]]
        if more := told[_REASONS:]:
            parts.append(_line(f"  {sum(r.count for r in more)} more, for {len(more)} other reasons: see the page"))
    return parts


def _line(text: str) -> Padding:
    return Padding(_text(text), (0, 0, 0, 2))
