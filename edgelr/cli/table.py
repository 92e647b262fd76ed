"""edgelr table: build, verify, show, list and calibrate latency tables."""

from __future__ import annotations

import json as jsonlib
import re
from typing import TYPE_CHECKING, Annotated

import typer

from edgelr.cli import options as o
from edgelr.cli.render import answer, stdout_kept, teller
from edgelr.errors import Exit, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from edgelr.latency.store import Found
    from edgelr.vocabulary import Numbers

table = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Latency tables: what each operation costs on a device.")

TargetName = Annotated[str, typer.Argument(help="A target; NAME@ssh://user@host or NAME@adb:SERIAL attaches the device to measure on.")]
Runtime = Annotated[str, typer.Option("--runtime", help="litert or onnxruntime; default: all that the target has.")]
File = Annotated[str, typer.Option("--table", help="A table's file instead of the target's own.")]
Kept = Annotated[str, typer.Option("-o", "--out", help="The file to write; default: the user's own folder (edgelr table list shows it).")]


@table.command("build")
def build(
    target: TargetName,
    model: Annotated[str, typer.Option("--model", help="Build for one network, at all its ranks; default: a general grid.")] = "",
    input: o.Input = "",
    weights: o.Weights = "",
    numbers: Annotated[str, typer.Option("--numbers", help="int8,float,dynamic")] = "int8,float",
    minutes: Annotated[float, typer.Option("--minutes", min=0, help="Stop then; run again to go on. 0: as long as it takes.")] = 0.0,
    runtime: Runtime = "",
    out: Kept = "",
    strict: o.Strict = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Measure operations on an attached device. Goes on where an earlier run ended: only missing rows are measured."""
    from edgelr.latency.verifying import unsure
    from edgelr.pipeline.building_tables import build_tables

    settings = o.settings(model=model, input=input, weights=weights, target=target, strict=strict)
    with stdout_kept():
        stored = build_tables(settings, _numbers(numbers), runtime=runtime, minutes=minutes, out=out, tell=teller(quiet))
    if json:
        facts = [
            {"path": str(s.path), "rows": len(s.built.table.rows), "measured": s.built.measured, "added": s.built.added,
             "missing": len(s.built.missing), "visits": s.built.visits,
             "disturbed": s.built.disturbed, "seconds": round(s.built.seconds, 1), "band": s.built.table.head.band}
            for s in stored
        ]  # fmt: skip
        answer(jsonlib.dumps({"schema": 1, "tables": facts}, indent=1))
        return
    for s in stored:
        b = s.built
        took = f"{b.measured} measured in {b.seconds / 60:.1f} minutes, {b.added} of them where it was coarse"
        answer(f"{s.path}: {len(b.table.rows)} rows, {took}")
        if b.visits > 1:
            answer(f"  rows that found the device busy were visited up to {b.visits} times; {b.disturbed} found it so each time")
        if b.missing:
            whys = sorted({s.left_out.get(operation, "the time was over") for operation in b.missing})
            answer(f"  {len(b.missing)} operations without a row: {'; '.join(whys[:3])}")
        answer(f"  a network is expected within {b.table.head.band:.0%}: {b.table.head.band_from}")
        if told := unsure(b.table.head.conditions):
            answer(f"  {told}. Remove the file, and build it when the device is calm")


@table.command("verify")
def verify(
    target: TargetName,
    table: File = "",
    runtime: Runtime = "",
    rows: Annotated[int, typer.Option("--rows", min=1, help="How many rows are drawn and measured again.")] = 30,
    seed: o.Seed = 0,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Measure rows drawn at random again; ends with code 7 where the table no longer holds."""
    from edgelr.latency.pace import CALM
    from edgelr.pipeline.checking_tables import verify_table

    with stdout_kept():
        done = verify_table(target, runtime=runtime, path=table, rows=rows, seed=seed, tell=teller(quiet))
    if json:
        facts = [
            {"path": str(f.path), "how": f.table.head.how, "rows": len(v.pairs), "within": v.within, "median": v.off, "bias": v.bias,
             "pace": v.pace, "limit": v.limit, "holds": v.holds}
            for f, v in done
        ]  # fmt: skip
        answer(jsonlib.dumps({"schema": 1, "tables": facts}, indent=1))
    else:
        for f, v in done:
            told = "holds" if v.holds else "no longer holds"
            answer(f"{f.path} ({f.table.head.how}) {told}: {len(v.pairs)} rows are off by {v.off:.1%} (median, {v.limit:.0%} is allowed),")
            bias = f"{abs(v.bias):.1%} {'slower' if v.bias > 0 else 'faster'}"
            answer(f"  {v.within} within their interval or that; on the whole they are {bias}")
            if abs(v.pace - 1) > CALM:
                slower = "slower" if v.pace > 1 else "faster"
                answer(f"  the device itself is {abs(v.pace - 1):.0%} {slower} than when it was measured, which is taken off")
    if not all(v.holds for _, v in done):
        raise typer.Exit(int(Exit.UNTRUSTED_MEASUREMENT))


@table.command("show")
def show(
    target: TargetName,
    family: Annotated[str, typer.Option("--family", help="Which operations, as 'conv 3x3 int8'; default: the longest line of rows.")] = "",
    table: File = "",
    runtime: Runtime = "",
    channels: Annotated[int, typer.Option("--channels", min=0, help="Output channels to go to; 0: as far as the rows.")] = 0,
    out: Annotated[str, typer.Option("-o", "--out", help="Write an HTML page with the drawing.")] = "",
) -> None:
    """Draw the stairs: what an operation costs by its output channels, which is what a rank is."""
    from pathlib import Path

    from edgelr.latency.pricer import Pricer
    from edgelr.latency.stairs import stairs
    from edgelr.report.stairs import to_page, to_text

    found = _found(target, runtime or "litert", table)
    head = found.table.head
    how = f"{head.how}: {head.target}, {head.runtime} {head.version}, {head.core}, {head.threads} thread(s); on {head.on}"
    line = stairs(Pricer(found.table), family, channels)
    if out:
        Path(out).write_text(to_page(line, how), encoding="utf-8")
        answer(out)
        return
    answer(to_text(line, how))


@table.command("list")
def list_(json: o.Json = False) -> None:
    """List every table that is found, the user's own first, and what is to be said of it."""
    import textwrap

    from edgelr.errors import EdgelrError
    from edgelr.latency.store import all_tables, home

    found = list(all_tables())
    if json:
        facts = [{"path": str(p), **({"error": f.what} if isinstance(f, EdgelrError) else _facts(f))} for p, f in found]
        answer(jsonlib.dumps({"schema": 1, "tables": facts}, indent=1))
        return
    for path, f in found:
        if isinstance(f, EdgelrError):
            answer(f"{path}: can't be used: {f.what}")
            continue
        h = f.table.head
        clock = f" at {h.clock_ghz:g} GHz" if h.clock_ghz else ""
        told = f"{h.target}: {h.runtime} {h.version}, {h.core}{clock}, {h.threads} thread(s), {len(f.table.rows)} rows, {h.how} {h.made}"
        answer(textwrap.fill(f"{told}, within {h.band:.0%}", 80, subsequent_indent="  "))
        for line in (str(path), *f.labels):
            answer(textwrap.fill(line, 80, initial_indent="  ", subsequent_indent="  ", break_long_words=False, break_on_hyphens=False))
    if not found:
        answer(f"there is none; edgelr table build writes them to {home() / 'tables'}")


@table.command("calibrate")
def calibrate(
    target: TargetName,
    measured: Annotated[
        list[str] | None, typer.Option("--measured", help="FILE:MS, a file's latency on the board, as model.tflite:12.3ms. Repeatable.")
    ] = None,
    board: Annotated[str, typer.Option("--board", help="What it was measured on, in words.")] = "the user's board",
    table: File = "",
    out: Kept = "",
    json: o.Json = False,
) -> None:
    """Refit a target's table to three to five files measured on your own board; written to your own folder."""
    from edgelr.pipeline.checking_tables import calibrate_tables

    done = calibrate_tables(target, [_measured(text) for text in measured or ()], board=board, path=table, out=out)
    if json:
        facts = [
            {"path": str(p), "factors": dict(c.factors), "before": dict(c.before), "left_out": c.left_out and dict(c.left_out),
             "band": c.table.head.band}
            for p, c in done
        ]  # fmt: skip
        answer(jsonlib.dumps({"schema": 1, "tables": facts}, indent=1))
        return
    if not done:
        raise UsageError("there is nothing to calibrate by", "no file was given", "--measured model.tflite:12.3ms, three to five times")
    for path, c in done:
        answer(f"{path}: times multiplied by {', '.join(f'{f:.2f} ({name})' for name, f in c.factors.items())}; still {c.table.head.how}")
        for name, before in c.before.items():
            after = "" if c.left_out is None else f", {c.left_out[name]:+.1%} by the other files"
            answer(f"  {name}: {before:+.1%} by the old table{after}")
        answer(f"  a network is expected within {c.table.head.band:.0%}: {c.table.head.band_from}")


def _measured(text: str) -> tuple[Path, float]:
    from pathlib import Path

    name, _, ms = text.rpartition(":")
    number = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)(?:ms)?", ms)
    if not name or number is None:
        raise UsageError(f"--measured {text!r} is no file and latency", "", "--measured model.tflite:12.3ms")
    return Path(name), float(number.group(1))


def _found(target: str, runtime: str, path: str) -> Found:
    from edgelr.latency.store import find_table
    from edgelr.pipeline.machine import place_of

    found = find_table(place_of(target).target.name, runtime, path)
    if found is None:
        raise UsageError(f"{target} has no latency table for {runtime}", "none was built or shipped", "edgelr table list, or --runtime")
    return found


def _facts(found: Found) -> dict[str, object]:
    import dataclasses

    return {**dataclasses.asdict(found.table.head), "rows": len(found.table.rows), "edited": found.table.edited, "labels": found.labels}


def _numbers(text: str) -> list[Numbers]:
    from typing import get_args

    from edgelr.vocabulary import Numbers

    words = [w for w in text.split(",") if w]
    if not words or any(w not in get_args(Numbers) for w in words):
        raise UsageError(f"--numbers {text!r} is no list of number formats", "", f"some of {','.join(get_args(Numbers))}")
    return words  # type: ignore[return-value]
