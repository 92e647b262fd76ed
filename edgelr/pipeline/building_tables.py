"""Latency tables of targets, built on a device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from edgelr.devices import Target
from edgelr.devices.described import Described
from edgelr.errors import BadInputError, UsageError
from edgelr.graph.recurrent import layers
from edgelr.latency.building import Built, build
from edgelr.latency.clamps import clamped, clamps
from edgelr.latency.cut import cut_operators
from edgelr.latency.machine import RUNTIMES
from edgelr.latency.measuring_far import BEFORE, LEAST, MOST, Inside
from edgelr.latency.operation import Operation
from edgelr.latency.pace import pace_of, told_pace
from edgelr.latency.pricer import Pricer
from edgelr.latency.row_source import DeviceRows
from edgelr.latency.store import load_table, own_file, save_table
from edgelr.latency.table import Head, Table
from edgelr.latency.turns import Turns
from edgelr.latency.verifying import sure, verify
from edgelr.latency.wanted import general_operations, operations_of_network
from edgelr.pipeline.files import draft
from edgelr.pipeline.precision import Form, Precision, Spelling
from edgelr.pipeline.settings import Settings
from edgelr.pipeline.source import input_shape, inspect, read_network
from edgelr.pipeline.table_devices import device_of, own_layouts
from edgelr.vocabulary import Format, Numbers

# What four of five whole files stayed within, as clocked, on an x86-64 machine that other users disturbed much, by tables built without
# them. At one pace it is 0.09 and 0.08 (docs/benchmarks/predicted.md), with references measured nine times within half an hour, which a
# small network's table doesn't take; on a calm machine 0.06 and 0.07 (predicted-calm.md).
IN_NETWORK = {"litert": 0.11, "onnxruntime": 0.17}
EVERY_S, SHARE = 120.0, 0.2  # seconds of rows until networks are measured again, or, where those take long, their share of that
AGAIN = 30  # rows that are measured again at the end of building
ENOUGH = 8  # rows of a family, for what is predicted when one is left out to say anything


@dataclass(frozen=True)
class Stored:
    """A table that was built, and the file that it is in. ``left_out`` says why operations have no row."""

    path: Path
    built: Built
    left_out: dict[Operation, str]


def build_tables(
    settings: Settings, numbers: Sequence[Numbers], *, runtime: str = "", minutes: float = 0.0, out: str = "", tell: Callable[[str], None]
) -> list[Stored]:
    """Build, or go on building, the tables of ``settings.target`` on the device that it names, one for each runtime.

    Of the operations of ``settings.model`` at all ranks, or without one of the general grid. ``minutes`` are for all runtimes together.
    Raises UsageError where the target names no device, and what measuring raises; what was measured by then is kept.
    """
    with device_of(settings.target, runtime, settings.strict) as (target, device, formats):
        if out and len(formats) > 1:
            raise UsageError(f"-o {out} is one file, and there are {len(formats)} tables", "each runtime has its own", "add --runtime")
        stored = []
        for format in formats:
            step = target.rank_steps[RUNTIMES[format]]
            file = Path(out) if out else own_file(target.name, RUNTIMES[format])
            known = load_table(file) if file.exists() else None
            told = device.describe(RUNTIMES[format])
            blocked, pace_us = own_layouts(told, format), pace_of(known.head.conditions) if known else 0.0
            tell(f"{RUNTIMES[format]}: measuring operations on {device.address}, kept in {file}")
            head = head_of(target, told, format)
            tell(f"{RUNTIMES[format]}: what operations cost more inside networks")
            inside = Inside(device, format, target.threads, numbers, blocked=blocked, pace_us=pace_us)
            far = inside.measure(BEFORE, BEFORE)
            more = f"after the rows up to {(MOST - BEFORE) * inside.seconds / 60:.1f} minutes more"
            tell(f"{RUNTIMES[format]}: that took {inside.seconds:.0f} s a time; {more}")
            source = DeviceRows(device, format, target.threads, blocked=blocked, pace_us=inside.pace_us)
            built = build(
                replace(head, conditions={**head.conditions, **far.conditions(), **told_pace(inside.pace_us)}),
                _wanted(settings, format, numbers, step, blocked),
                Turns(source, inside.again, max(EVERY_S, inside.seconds / SHARE)),
                known=known,
                minutes=minutes / len(formats),
                save=lambda table, file=file: save_table(file, table),  # type: ignore[misc]
                tell=lambda text, format=format: tell(f"{RUNTIMES[format]}: {text}"),  # type: ignore[misc]
            )
            table = _banded(built.table)
            save_table(file, table)
            tell(f"{RUNTIMES[format]}: once more what operations cost more inside networks")
            conditions = {**table.head.conditions, **inside.measure(LEAST, MOST).conditions()}
            table = replace(table, head=replace(table.head, conditions=conditions))
            save_table(file, table)
            tell(f"{RUNTIMES[format]}: measuring {min(AGAIN, len(table.rows))} of the rows again")
            built = replace(built, table=sure(table, verify(table, source, count=AGAIN)))
            save_table(file, built.table)
            stored.append(Stored(file, built, source.left_out))
        return stored


def _wanted(settings: Settings, format: Format, numbers: Sequence[Numbers], step: int, blocked: bool) -> tuple[Operation, ...]:
    if not settings.model:
        return general_operations(format, numbers, blocked=blocked)
    name, network = read_network(settings)
    graph = inspect(name, network, input_shape(settings, None)).graph
    found: list[Operation] = []
    spellings: tuple[Spelling, ...] = ("fused", "loop") if layers(graph) else ("fused",)
    for form in (Form(n, s) for n in numbers for s in spellings):
        data = draft(graph, (format,), Precision({format: form}))[format]
        found += operations_of_network((cut.operation for cut in cut_operators(data, format, blocked=blocked)), step)
    found += clamps() if format == "onnx" and any(map(clamped, found)) else ()
    return tuple(dict.fromkeys(found))


def head_of(target: Target, told: Described, format: Format) -> Head:
    """Of a table that is measured on the device that tells of itself."""
    runtime = RUNTIMES[format]
    step = target.rank_steps[runtime]
    clock = max((cpu.max_mhz for cpu in told.cpus if cpu.number in told.pinned or not told.pinned), default=0.0) / 1e3
    return Head(
        target.name, runtime, told.runtimes[runtime], told.core, target.threads, "measured", told.name or target.device,
        datetime.now(UTC).date().isoformat(), 1.0, "not known yet", clock_ghz=clock,
        steps={"int8": step, "dynamic": step, "float": step}, conditions={k: v for k, v in told.conditions(runtime).items() if v},
    )  # fmt: skip


def _banded(table: Table) -> Table:
    """With the error to expect of a whole network: how well its rows are predicted when they are left out, and sums of rows."""
    if not table.rows:
        raise BadInputError("No operation could be measured.", "the table would be empty.", "edgelr doctor; or another runtime: --runtime")
    pricer = Pricer(table)
    errors = [e for f in pricer.families if len(found := pricer.left_out(f)) >= ENOUGH for e in found.values()]
    if not errors:
        return replace(table, head=replace(table.head, band=0.5, band_from=f"no family has {ENOUGH} rows yet: not known"))
    typical = sorted(errors)[len(errors) // 2]
    whole = IN_NETWORK[table.head.runtime]
    told = f"rows left out are predicted to {typical:.1%} (median of {len(errors)}); four of five networks within {whole:.0%} on x86-64"
    return replace(table, head=replace(table.head, band=round(max(typical, whole), 3), band_from=told))
