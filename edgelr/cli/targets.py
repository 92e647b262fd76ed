"""edgelr targets: every device that can be named, and what is known of it."""

from __future__ import annotations

import dataclasses
import json as jsonlib
from typing import Annotated

import typer

from edgelr.cli import options as o
from edgelr.cli.render import answer


def targets(name: Annotated[str, typer.Argument(help="One target: all facts, with their sources.")] = "", json: o.Json = False) -> None:
    """List the targets, or tell all that is known of one."""
    import textwrap

    from edgelr.devices import list_targets, load_target

    known = [load_target(n) for n in ([name] if name else list_targets())]
    if json:
        answer(jsonlib.dumps({"schema": 1, "targets": [dataclasses.asdict(t) for t in known]}, indent=1, default=dict))
        return
    for t in known:
        answer(f"{t.name:22} {t.device}")
        if name:
            for fact in t.facts:
                answer(textwrap.fill(f"- {fact.text} [{fact.source}]", 80, initial_indent="  ", subsequent_indent="    "))
    if not name:
        answer("\nattach a device: --target NAME@ssh://user@host or NAME@adb:SERIAL; tables: edgelr table list")
