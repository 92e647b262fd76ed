"""A finished run's files looked at again: against their report, and against each other in the real runtimes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgelr.devices import open_session, run_isolated
from edgelr.errors import BadInputError, GateError
from edgelr.export.account import account
from edgelr.report import Report, from_json

SAMPLES = 32
AGREE = 0.9  # on random inputs, whose classes are close calls, both files must still mostly agree


def recheck(folder: Path, tell: Callable[[str], None]) -> list[str]:
    """What holds, one line a check. Raises BadInputError for missing or damaged files, GateError where a file isn't what the report says.

    Files that may not be ours are opened in a process of their own.
    """
    path = folder / "report.json"
    if not path.is_file():
        raise BadInputError(f"{folder} has no report.json", "it is not the folder of a finished run", "name the folder given to -o")
    report = from_json(path.read_text(encoding="utf-8"))
    findings: list[str] = []
    outputs: dict[str, np.ndarray[Any, Any]] = {}
    for artifact in report.artifacts:
        file = folder / Path(artifact.path).name
        if not file.is_file():
            raise BadInputError(f"{file.name} is missing", "the report names it", "run the compression again")
        data = file.read_bytes()
        if hashlib.sha256(data).hexdigest() != artifact.sha256:
            raise GateError(f"{file.name} has changed since it was written", "its SHA-256 is not the report's", "run the compression again")
        findings.append(f"{file.name}: {len(data):,} bytes, SHA-256 as reported")
        ops = account(data, artifact.format)  # type: ignore[arg-type]
        reported = artifact.ops
        if (ops.int8, ops.dynamic, ops.float, ops.other) != (reported.int8, reported.dynamic, reported.float, reported.other):
            raise GateError(
                f"{file.name} has other operations than the report says",
                f"{ops.int8} int8, {ops.dynamic} dynamic, {ops.float} float",
                "run the compression again",
            )
        findings.append(f"{file.name}: {ops.int8} int8 operations, {ops.dynamic} dynamic, {ops.float} float, {ops.layout_ops} of layout")
        tell(f"running {file.name}")
        last, shape = artifact.channels_last is not False, list(report.model.inputs[0])
        outputs[artifact.format] = np.array(run_isolated(run_samples, file, artifact.format, shape, report.seed, last))
        findings.append(f"{file.name}: runs on {SAMPLES} random samples, all outputs finite")
    findings += _alike(outputs)
    findings += _budgets(report)
    return findings


def run_samples(path: str, format: Any, shape: list[int], seed: int, channels_last: bool) -> list[list[float]]:
    """A file's outputs on seeded random samples (called in a process of its own)."""
    session = open_session(Path(path).read_bytes(), format, channels_last=channels_last, as_meant=True)
    x = np.random.default_rng(seed).standard_normal((SAMPLES, *shape[1:])).astype(np.float32)
    y = session.run(x).reshape(SAMPLES, -1)
    if not np.isfinite(y).all():
        raise GateError(f"{Path(path).name} gives NaN or infinity", "on random inputs", "run the compression again")
    return [[float(v) for v in row] for row in y]


def _alike(outputs: dict[str, np.ndarray[Any, Any]]) -> list[str]:
    if len(outputs) < 2:
        return []
    a, b = (v.argmax(1) for v in outputs.values())
    share = float((a == b).mean())
    if share < AGREE:
        raise GateError(
            "the two files disagree", f"they pick the same class on {share:.0%} of {SAMPLES} random samples", "run the compression again"
        )
    return [f"both files pick the same class on {share:.0%} of {SAMPLES} random samples"]


def _budgets(report: Report) -> list[str]:
    return [
        f"budget {line.asked or line.kind}: {line.value:.4g} {line.unit} of {line.limit:.4g} ({line.how} on {line.on} when it was made)"
        for line in report.budgets
    ]
