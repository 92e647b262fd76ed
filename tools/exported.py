"""What edgelr writes of factorised networks, at another place: whole files, and each of their operations on the same inputs."""
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from bench_table import table
from elsewhere import HERE, Array, Job, Place, difference, run_at
from exported_nets import SHARE, Written, factorised, found, written
from golden_files import FLOAT_TOLERANCE
from operators_alone import alone

from edgelr.vocabulary import Grid

FOLLOWED = 10  # samples that operations are followed on
FILES = ("processor", "network", "form", "format", "largest weight", "samples", "outputs equal", "largest difference", "same class")
OPERATORS = ("processor", "format", "operator", "result", "in", "differ", "largest difference")
Outputs = Mapping[str, list[Array] | str]


class Exported:
    """The files with weights up to each of ``weights``, their operations, and what this machine computes."""

    def __init__(self, shared: Path, cache: Path, quick: bool, weights: tuple[int, ...]) -> None:
        self.files: list[Written] = []
        for net in found(shared, quick):
            given = net.load(shared, cache, net.samples)
            self.files += written(net, given, factorised(net, given), weights)
        self.operators = {f.job.name: list(alone(replace(f.job, inputs=[x[:FOLLOWED] for x in f.job.inputs])))
                          for f in self.files if not f.recurrent}
        self.here = run_at(HERE, self._jobs(weights))

    def _jobs(self, weights: Iterable[int]) -> list[Job]:
        files = [f for f in self.files if f.weight_max in weights]
        return [*(f.job for f in files), *(job for f in files for job, _ in self.operators.get(f.job.name, ()))]

    def at(self, place: Place, weight_max: int) -> dict[str, Any]:
        """Rows of ``FILES`` and of ``OPERATORS`` without the processor, what is ``beyond`` the tolerance or refused, and of ``integers``
        how many operations gave some and how many they gave."""
        got = run_at(place, self._jobs([weight_max]))
        files = [f for f in self.files if f.weight_max == weight_max]
        operators, beyond, integers = self._operators(files, got)
        rows = []
        for f in files:
            a, b = self.here[f.job.name], got[f.job.name]
            told = (f.net, f.form, f".{f.job.format}", f.weight_max, len(f.job.inputs[0]))
            if isinstance(a, str) or isinstance(b, str):
                beyond.append(f"{f.job.name}: {b if isinstance(b, str) else a}"[:100])
            else:
                rows.append([*told, *_agreement(a, b, f.grid if f.job.format == "onnx" else None)])
        return {"files": rows, "operators": operators, "beyond": beyond, "integers": integers}

    def _operators(self, files: Sequence[Written], got: Outputs) -> tuple[list[list[Any]], list[str], list[int]]:
        counts: dict[tuple[str, str, bool], list[Any]] = {}
        beyond, integers = [], [0, 0]
        for f in files:
            for job, kind in self.operators.get(f.job.name, ()):
                a, b = self.here[job.name], got[job.name]
                if isinstance(a, str) or isinstance(b, str):
                    beyond.append(f"{job.name}, {kind}: {b if isinstance(b, str) else a}"[:100])
                    continue
                apart = difference(a, b)
                if apart.worst > (1 if apart.integer else FLOAT_TOLERANCE):
                    beyond.append(f"{job.name}, {kind}: {_largest(apart.worst, apart.integer)}")
                integers = [integers[0] + apart.integer, integers[1] + apart.integer * apart.values]
                held = counts.setdefault((job.format, kind, apart.integer), [0, 0, 0.0, {}])
                held[:3] = [held[0] + apart.values, held[1] + apart.values - apart.equal, max(held[2], apart.worst)]
                if apart.equal < apart.values:
                    held[3].setdefault(f.net, {})[f.form] = True
        rows = [[f".{format}", kind, "int8" if integer else "float", "; ".join(f"{n}: {', '.join(forms)}" for n, forms in nets.items()),
                 f"{differ:,} of {values:,}", _largest(worst, integer)]
                for (format, kind, integer), (values, differ, worst, nets) in sorted(counts.items()) if differ]
        return rows, beyond, integers


def _agreement(a: Sequence[Array], b: Sequence[Array], grid: Grid | None) -> tuple[str, str, str]:
    if grid is not None:  # an .onnx gives the integers of its output as real numbers
        a, b = ([np.rint(y / np.float32(grid.scale)).astype(np.int32) for y in each] for each in (a, b))
    apart = difference(a, b)
    classes = [y[0].reshape(len(y[0]), -1).argmax(1) for y in (a, b)]
    return (f"{apart.equal:,} of {apart.values:,}", _largest(apart.worst, apart.integer) if apart.equal < apart.values else "-",
            f"{np.mean(classes[0] == classes[1]):.0%}")


def _largest(worst: float, integer: bool) -> str:
    return f"{worst:.0f} step{'s' if worst > 1 else ''}" if integer else f"{worst:.0e}"


def told(places: Sequence[Mapping[str, Any]]) -> list[str]:
    """The page's part: both tables, of what ``at`` gave for each place with the processor in front of each row."""
    if not any(p["files"] for p in places):
        return []
    files = joined(joined([r for p in places for r in p["files"]], 0), 2)
    operators = joined([r for p in places for r in p["operators"]], 0)
    counts = sorted({f"{p['integers'][0]:,} operations with {p['integers'][1]:,} integers" for p in places})
    return [
        "## Factorised networks",
        f"As edgelr writes them at {SHARE:.0%} of their parameters (the additive optimum by the layers' own errors; nothing trained, so "
        "that accuracy means nothing), in every form that `--numbers auto` chooses among, with the weights that it gives the processor: to "
        "63 on Haswell, to 127 on Arm. Largest difference: in steps of the output's grid; where the output is a real number, as a share "
        "of the largest. Forms with the same result stand in one row. Where activations are quantised as they come (dynamic), a difference "
        "in the last bit before that may be a step behind it.",
        table(FILES, files),
        "## Where operations of factorised networks differ",
        f"Each operation of these files alone, fed what this machine computed before it, on at most {FOLLOWED} samples (the LSTM aside, "
        f"whose loops are no file of their own). {' or '.join(counts)} on each processor; equal throughout, but for:",
        table(OPERATORS, operators) if operators else "Nothing.",
    ]


def joined(rows: Iterable[Sequence[Any]], at: int) -> list[list[Any]]:
    """Rows that differ in column ``at`` alone become one, with all that they have there."""
    words: dict[tuple[Any, ...], list[str]] = {}
    for row in rows:
        words.setdefault((*row[:at], *row[at + 1 :]), []).append(row[at])
    return [[*rest[:at], "; ".join(dict.fromkeys(found)), *rest[at:]] for rest, found in words.items()]
