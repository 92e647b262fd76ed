"""Every shipped latency table, from nothing: counts on emulated cores, times cycles fitted to published times.

    python tools/emulation/build_targets.py --environments FOLDER --cache FOLDER [--targets NAME ...]

Needs Debian's qemu-user and gcc; Arm's Python and wheels are put into --environments (300 MB). Counts are kept in --cache: a run that was
stopped goes on where it was. The same versions give the same bytes. Takes about 40 minutes on one core.
"""
from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from bands import Band, band_of
from fitting import Key, counts_of, fitted, key_of, rates_of
from operations import RUNTIME, call_events, chosen, counted, counted_on
from published import rows
from rates import CORES, Rates, Vector, counted_as, milliseconds
from readme import page
from steps import step_of

from edgelr.devices import Target, list_targets, load_target
from edgelr.latency.operation import Operation
from edgelr.latency.table import Head, Row, Table
from edgelr.latency.table_file import dumps
from edgelr.vocabulary import Format, Numbers

VERSIONS = {"litert": "2.3.0", "onnxruntime": "1.31.1"}
MADE = "2026-11-22"  # when the rates were last fitted: tables of other days are the same
NUMBERS: tuple[Numbers, ...] = ("int8", "float", "dynamic")
MIN_US = 0.001


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--environments", type=Path, required=True)
    options.add_argument("--cache", type=Path, required=True)
    options.add_argument("--targets", nargs="*", default=[n for n in list_targets() if n != "host"])
    options.add_argument("--out", type=Path, default=Path(__file__).resolve().parents[2] / "targets")
    chosen_ = options.parse_args()
    work = Work(chosen_.environments, chosen_.cache)
    for name in chosen_.targets:
        target = load_target(name)
        tables = {format: work.table(target, format) for format in RUNTIME}
        for format, table in tables.items():
            (chosen_.out / name / f"{RUNTIME[format]}.tsv").write_text(dumps(table), encoding="utf-8")
        (chosen_.out / name / "README.md").write_text(page(target, tables, work.networks), encoding="utf-8")
        tell(f"{name}: {', '.join(f'{RUNTIME[f]} {len(t.rows)} rows' for f, t in tables.items())}")


def tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class Work:
    """Counts and rates, each made once."""

    def __init__(self, environments: Path, kept: Path) -> None:
        self._places = (environments, kept)
        self._operations: dict[tuple[str, Format, Numbers], dict[Operation, Vector]] = {}
        self._steps: dict[tuple[str, Format, Numbers], int] = {}

    @property
    def networks(self) -> Mapping[Key, Vector]:
        return _networks(*self._places)

    def rates(self, target: Target, numbers: Numbers) -> Rates:
        return rates_of(counted_as(_core(target), numbers), self.networks)

    def band(self, target: Target, runtime: str) -> Band:
        return band_of(_core(target), runtime, self.networks)

    def table(self, target: Target, format: Format) -> Table:
        core, runtime, band, ghz = _core(target), RUNTIME[format], self.band(target, RUNTIME[format]), target.clock_ghz
        kernels = {n: CORES[counted_as(core, n)].kernels for n in NUMBERS}
        rates = {n: self.rates(target, n) for n in NUMBERS}

        def us(events: Vector, numbers: Numbers) -> float:
            return max(float(f"{1e3 * milliseconds(events, rates[numbers], ghz):.4g}"), MIN_US)

        call_us = us(call_events(format, counted_on(kernels["int8"], format, "int8"), *self._places), "int8")
        table = {o: Row(o, us(e, n)) for n in NUMBERS for o, e in self._counts(kernels[n], format, n).items()}
        steps = {n: self._step(kernels[n], format, n) for n in ("int8", "float")}
        floats = f", in float cortex-{kernels['float']}" if kernels["float"] != kernels["int8"] else ""
        head = Head(
            target.name, runtime, VERSIONS[runtime], target.core, target.threads, "simulated",
            f"qemu-aarch64's cortex-{kernels['int8']}{floats}: counted instructions and cache lines, times cycles for each that start from "
            f"{CORES[core].on}; fitted to {len(_used(core))} published times",
            MADE, band.whole, band.words, call_us, ghz, band.ratio, steps,
        )  # fmt: skip
        return Table(head, table)

    def _counts(self, kernels: str, format: Format, numbers: Numbers) -> Mapping[Operation, Vector]:
        key = (counted_on(kernels, format, numbers), format, numbers)
        if key not in self._operations:
            self._operations[key] = counted(chosen(format, numbers), format, key[0], *self._places, tell)
        return self._operations[key]

    def _step(self, kernels: str, format: Format, numbers: Numbers) -> int:
        key = (counted_on(kernels, format, numbers), format, numbers)
        if key not in self._steps:
            first = CORES[key[0]].first  # all cores that share kernels share their steps
            self._steps[key] = step_of(format, numbers, key[0], first, *self._places, tell)[0]
        return self._steps[key]


@cache
def _networks(environments: Path, kept: Path) -> Mapping[Key, Vector]:
    """The networks that rates are fitted to and bands come from."""
    return counts_of(sorted({key_of(r) for r in rows() if fitted(r)}), environments, kept, tell)


def _core(target: Target) -> str:
    return target.core.removeprefix("cortex-")


def _used(core: str) -> Sequence[object]:
    cores = {counted_as(core, n) for n in NUMBERS}
    return [r for r in rows() if r.core in {CORES[c].like or c for c in cores} and fitted(r)]


if __name__ == "__main__":
    main()
