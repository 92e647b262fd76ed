"""edgelr profile: what each operation takes on a device, beside what its table had predicted."""

from __future__ import annotations

import dataclasses
import json as jsonlib
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgelr.cli import options as o
from edgelr.cli.render import answer, stdout_kept, teller

if TYPE_CHECKING:
    from edgelr.pipeline.profile import Profile, ProfileLine

Subject = Annotated[
    str, typer.Argument(help="A network (FILE.py:FUNCTION …), a .tflite or .onnx file, or the folder of a finished run.")
]
Top = Annotated[int, typer.Option("--top", min=0, help="Only the dearest so many operations; 0: all.")]


def profile(
    model: Subject,
    target: o.Target = "host",
    table: o.Table = "",
    input: o.Input = "",
    weights: o.Weights = "",
    format: o.Format = "tflite,onnx",
    numbers: o.Numbers = "auto",
    top: Top = 0,
    strict: o.Strict = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Time a network operation by operation on a device, or tell what its latency table says where none is attached."""
    from edgelr.pipeline.log import Log
    from edgelr.pipeline.profile import profile as profiled

    words: dict[str, Any] = {"weights": weights, "target": target, "table": table, "numbers": numbers, "strict": strict}
    with stdout_kept():
        found = profiled(o.settings(model=model, input=input, format=format, **words), Log(teller(quiet)))
    if json:
        answer(jsonlib.dumps({"schema": 1, "profiles": [dataclasses.asdict(p) for p in found]}, indent=1))
        return
    for p in found:
        _show(p, top)


def _show(p: Profile, top: int) -> None:
    from rich.console import Console
    from rich.table import Table

    from edgelr.report.words import microseconds, printable, threads

    title = f"{p.file}: {p.whole_us / 1e3:.3f} ms {p.how}" + (
        f", {p.predicted_us / 1e3:.3f} ms by its table" if p.predicted_us is not None and p.how == "measured" else ""
    )
    compared = p.how == "measured" and p.predicted_us is not None
    table = Table(title=printable(title), box=None, title_justify="left", title_style="bold", pad_edge=False)
    heads = [("operation", "left"), ("is", "left"), ("us", "right"), ("share", "right")]
    heads += [("by table", "right"), ("off by", "right")] if compared else []
    for head, justify in heads:
        table.add_column(head, justify=justify, overflow="fold", no_wrap=justify == "right")  # type: ignore[arg-type]
    lines = sorted(p.lines, key=lambda line: -line.us)[:top] if top else p.lines
    for line in lines:
        cells = [line.name, line.operation + _mark(line), microseconds(line.us), f"{line.us / max(p.whole_us, 1e-9):.1%}"]
        if compared:
            known = line.predicted_us is not None
            cells += [microseconds(line.predicted_us) if known else "", _off(line) if known else ""]
        table.add_row(*(printable(c) for c in cells))
    if p.other_us:
        table.add_row("(of no operation)", "layout", microseconds(p.other_us), f"{p.other_us / max(p.whole_us, 1e-9):.1%}")
    console = Console(highlight=False)
    console.print(table)
    console.print(printable(f"{p.runtime}, {threads(p.threads)}, on {p.on}"), style="dim")
    if any(_mark(line) for line in p.lines):
        console.print("* outside the table's rows: extrapolated", style="dim")
    console.print()


def _mark(line: ProfileLine) -> str:
    return " *" if line.basis in ("beyond", "unlike") else ""


def _off(line: ProfileLine) -> str:
    return f"{(line.predicted_us or 0.0) / line.us - 1:+.0%}" if line.us > 0 else ""
