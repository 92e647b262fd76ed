"""The golden models of ``tests/golden`` as jobs for other interpreters, and their outputs compared by operator."""
from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "golden"))
from elsewhere import Array, Difference, Job, difference
from golden_jobs import cuts, inputs_of, onnx_input
from golden_models import GOLDEN, ONNX, golden, written

FLOAT_TOLERANCE = 1e-5  # of the largest value: what summing in another order may change in operations kept in float


@dataclass(frozen=True)
class Row:
    """All files of one operator at one place. ``refused``: files that did not run; ``off``: those beyond the tolerance, by name."""

    files: int = 0
    values: int = 0
    equal: int = 0
    worst: float = 0.0
    integer: bool = True
    refused: tuple[str, ...] = ()
    off: tuple[str, ...] = ()


def tflite_jobs(names: Iterable[str] = tuple(GOLDEN)) -> tuple[list[Job], dict[str, str]]:
    """Every operator of the golden .tflite files as a file of its own, and "OPERATOR version, numbers" of each."""
    made, kinds = [], {}
    for name, kind, data in cuts(names):
        inputs = inputs_of(data)
        made.append(Job(name, "tflite", data, inputs))
        dynamic = name.split("-")[0].endswith("_dynamic") and kind.startswith(("FULLY", "CONV", "whole"))
        kinds[name] = f"{kind}, {'dynamic' if dynamic else 'int8' if inputs[0].dtype == np.int8 else 'float'}"
    return made, kinds


def onnx_jobs(names: Iterable[str] = ONNX, weight_max: int = 127) -> tuple[list[Job], dict[str, str]]:
    """The golden .onnx files, and what each is."""
    made = [Job(f"onnx-{weight_max}-{n}", "onnx", written(n, "onnx", weight_max), [onnx_input(n)]) for n in names]
    return made, {j.name: f"{_golden(j.name)}, {_numbers(_golden(j.name))}" for j in made}


def _golden(job: str) -> str:
    return job.split("-")[2]


def _numbers(name: str) -> str:
    q = golden(name, "onnx")
    return "int8" if q.graph.output in q.grids else q.numbers(q.graph.output)


def in_steps(name: str, outputs: list[Array]) -> list[Array]:
    """An .onnx's outputs as integers of its output's grid, where it has one: the file gives them as real numbers."""
    q = golden(_golden(name), "onnx")
    grid = q.grids.get(q.graph.output)
    return outputs if grid is None else [np.rint(y / np.float32(grid.scale)).astype(np.int32) for y in outputs]


def compared(want: Mapping[str, Any], got: Mapping[str, Any], kinds: Mapping[str, str], steps: int = 1) -> dict[str, Row]:
    """By operator, how far ``got`` is from ``want``; beyond ``steps`` of an integer grid, or the tolerance in float, a file is off."""
    rows: dict[str, Row] = {}
    for name, kind in sorted(kinds.items(), key=lambda item: item[1]):
        if name not in got:
            continue
        row = rows.get(kind, Row())
        row = replace(row, files=row.files + 1)
        a, b = want[name], got[name]
        if isinstance(a, str) or isinstance(b, str):
            rows[kind] = replace(row, refused=(*row.refused, name))
            continue
        found = _difference(name, a, b)
        bad = found.worst > (steps if found.integer else FLOAT_TOLERANCE)
        rows[kind] = replace(row, values=row.values + found.values, equal=row.equal + found.equal, worst=max(row.worst, found.worst),
                             integer=found.integer, off=(*row.off, name) if bad else row.off)
    return rows


def _difference(name: str, a: list[Array], b: list[Array]) -> Difference:
    return difference(in_steps(name, a), in_steps(name, b)) if name.startswith("onnx-") else difference(a, b)


def worst(row: Row) -> str:
    """The largest difference of a row: in steps, or as a share of the largest value."""
    if not row.values:
        return "-"
    return f"{row.worst:.0f}" if row.integer else f"{row.worst:.0e}" if row.worst else "0"
