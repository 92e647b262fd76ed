"""edgelr verify: look at the files of a finished run again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgelr.cli import options as o
from edgelr.cli.render import answer, teller


def verify(out: Annotated[str, typer.Argument(help="The folder of a finished run.")], json: o.Json = False, quiet: o.Quiet = False) -> None:
    """Check a run's files: unchanged since the report, readable, int8 throughout, and alike in both runtimes."""
    import json as jsonlib
    import textwrap

    from edgelr.pipeline.recheck import recheck

    findings = recheck(Path(out), teller(quiet))
    if json:
        answer(jsonlib.dumps({"schema": 1, "checks": findings}, indent=1))
    else:
        for finding in findings:
            answer(textwrap.fill(f"ok  {finding}", 80, subsequent_indent="    ", break_on_hyphens=False, break_long_words=False))
