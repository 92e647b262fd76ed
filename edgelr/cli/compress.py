"""edgelr compress, plan and quantize: the main job, the same without writing, and the same without factorising."""

from __future__ import annotations

import sys
from typing import Any

from edgelr.cli import options as o
from edgelr.cli.render import answer, stdout_kept, teller
from edgelr.errors import UsageError

_SEARCH = ("budget", "method", "max_loss", "scheme", "group", "score_samples", "allow_slower")
_WRITE = ("out", "via", "force")


@o.takes(*o.RUN)
def compress(model: str, dry_run: bool, json: bool, quiet: bool, **words: Any) -> None:
    """Compress a network to its budgets, measure it, and write both files and the report."""
    if not words["budget"] and words["max_loss"] is None:
        raise UsageError("there is no budget", "compress needs to know what to meet", "--budget 70%ms, or edgelr quantize for dense int8")
    if not words["out"] and not dry_run:
        raise UsageError("there is no output folder", "the files need a place", "-o out/, or --dry-run to see the plan only")
    if dry_run:
        words["out"] = ""
    _run(quiet, json, o.settings(model=model, **words))


@o.takes(*(name for name in o.RUN if name not in (*_WRITE, "dry_run")))
def plan(model: str, **words: Any) -> None:
    """Choose and measure a plan without writing anything (the same as compress --dry-run)."""
    compress(model, dry_run=True, out="", **words)


@o.takes(*(name for name in o.RUN if name not in (*_SEARCH, "dry_run")))
def quantize(model: str, json: bool, quiet: bool, **words: Any) -> None:
    """Write dense int8 files: nothing is factorised."""
    if not words["out"]:
        raise UsageError("there is no output folder", "the files need a place", "-o out/")
    _run(quiet, json, o.settings(model=model, method="dense", **words))


def _run(quiet: bool, json: bool, settings: Any) -> None:
    from edgelr.pipeline import compress as journey
    from edgelr.report import safe_command, to_json
    from edgelr.training import joined

    with stdout_kept(), joined():
        report = journey(settings, tell=teller(quiet), command=safe_command(["edgelr", *sys.argv[1:]]))
    if json:
        answer(to_json(report))
        return
    from edgelr.report.terminal import show

    show(report)
    if settings.out:
        answer(f"\nreport: {settings.out.rstrip('/')}/report.html")
