"""Refitting a table to a board by a few latencies of whole files measured there: one factor for each number format."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgelr.errors import BadInputError
from edgelr.latency.cut import cut_operators
from edgelr.latency.pricer import Pricer
from edgelr.latency.table import Table
from edgelr.vocabulary import Format, Numbers

# What boards of one kind differ by (clock, memory, cooling), number formats among themselves, and files around that: ncnn's and TFLite's
# published times on Raspberry Pis of one model, by their factors against counted cycles (docs/benchmarks/simulated.md).
SPREAD_ALL, SPREAD_FORMATS, SPREAD_FILES = 0.3, 0.2, 0.07
FACTORS = (0.1, 10.0)
_STEPS = 20


@dataclass(frozen=True)
class Whole:
    """A file measured whole on the board, and what the table says of it: microseconds by number format, and of the call."""

    name: str
    measured_us: float
    priced_us: Mapping[Numbers, float]
    call_us: float

    @property
    def table_us(self) -> float:
        return sum(self.priced_us.values()) + self.call_us


@dataclass(frozen=True)
class Calibrated:
    """``factors`` by number format ("all" for the rest). ``before`` and ``left_out``: each file's relative error by the old table, and by
    a table that was fitted to the other files alone (None for a single file)."""

    table: Table
    factors: Mapping[str, float]
    before: Mapping[str, float]
    left_out: Mapping[str, float] | None


def priced(name: str, data: bytes, format: Format, measured_us: float, pricer: Pricer) -> Whole:
    """A measured file with its price by number format. Raises what ``cut_operators`` raises."""
    us: dict[Numbers, float] = {}
    for cut in cut_operators(data, format):
        numbers = cut.operation.numbers
        us[numbers] = us.get(numbers, 0.0) + pricer.price(cut.operation).us
    return Whole(name, measured_us, us, pricer.table.head.call_us)


def calibrate(table: Table, files: Sequence[Whole], board: str) -> Calibrated:
    """The table with its times multiplied so that it fits the files best.

    A factor for all and one for each number format, drawn towards 1 and towards each other the more, the fewer the files are: the most
    likely ones where logarithms of factors and of files' errors are normal with the spreads above. ``how`` stays: simulated times stay
    simulated. The band becomes the largest error of a file that was left out. Raises BadInputError for latencies that can't be those of
    a board of this kind.
    """
    if not files:
        raise BadInputError("There is nothing to calibrate by.", "no file was given.", "--measured model.tflite:12.3ms")
    if any(not 0 < f.measured_us < 1e10 for f in files) or any(f.table_us <= 0 for f in files):
        raise BadInputError("A measured latency isn't one.", "it must be above 0.")
    factors = _fit(files)
    if not all(FACTORS[0] <= f <= FACTORS[1] for f in factors.values()):
        told = ", ".join(f"{name} {f:.2f}" for name, f in factors.items())
        raise BadInputError("The measured latencies don't fit this table.", f"its factors would be {told}.", "is it this board's?")
    left_out = {f.name: _off(f, _fit([g for g in files if g is not f])) for f in files} if len(files) > 1 else None
    worst = max(map(abs, left_out.values())) if left_out else table.head.band
    rows = {o: replace(row, us=row.us * factors.get(o.numbers, factors["all"])) for o, row in table.rows.items()}
    head = replace(
        table.head,
        call_us=table.head.call_us * factors["all"],
        band=worst,
        ratio_band=min(table.head.ratio_band, worst),
        on=f"{table.head.on}; fitted to {len(files)} files measured on {board}"[:600],
        band_from=f"the largest error of {len(files)} files, each left out of the fit" if left_out else table.head.band_from,
    )
    return Calibrated(Table(head, rows, table.edited), factors, {f.name: f.table_us / f.measured_us - 1 for f in files}, left_out)


def _fit(files: Sequence[Whole]) -> dict[str, float]:
    """Factors: that of all, times one for each number format that the files have; the most likely ones by Gauss-Newton on logarithms."""
    formats = sorted({n for f in files for n in f.priced_us})
    spreads = np.array([SPREAD_ALL, *([SPREAD_FORMATS] * len(formats))])
    parts = np.array([[f.call_us, *(f.priced_us.get(n, 0.0) for n in formats)] for f in files])
    measured = np.log([f.measured_us for f in files])
    logs = np.zeros(1 + len(formats))
    for _ in range(_STEPS):
        us = parts * np.exp(logs[0] + np.array([0.0, *logs[1:]]))
        whole = us.sum(axis=1)
        slopes = np.column_stack([np.ones(len(files)), us[:, 1:] / whole[:, None]]) / SPREAD_FILES
        off = (measured - np.log(whole)) / SPREAD_FILES
        step, *_ = np.linalg.lstsq(np.vstack([slopes, np.diag(1 / spreads)]), np.concatenate([off, -logs / spreads]), rcond=None)
        logs = logs + step
    return {"all": float(np.exp(logs[0])), **{n: float(np.exp(logs[0] + d)) for n, d in zip(formats, logs[1:], strict=True)}}


def _off(file: Whole, factors: Mapping[str, float]) -> float:
    us = file.call_us * factors["all"] + sum(us * factors.get(n, factors["all"]) for n, us in file.priced_us.items())
    return us / file.measured_us - 1
