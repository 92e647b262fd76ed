"""Latency tables of targets: built and verified on a device, calibrated by a few latencies measured on a board."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from edgelr.devices import Device, Target
from edgelr.devices.described import Described
from edgelr.errors import BadInputError, UsageError
from edgelr.latency.building import Built, build
from edgelr.latency.calibrate import Calibrated, calibrate, priced
from edgelr.latency.cut import cut_operators
from edgelr.latency.grid import grid
from edgelr.latency.machine import RUNTIMES
from edgelr.latency.measuring_far import measure_far
from edgelr.latency.operation import Operation
from edgelr.latency.pricer import Pricer
from edgelr.latency.reorders import reorders
from edgelr.latency.row_source import DeviceRows
from edgelr.latency.store import Found, find_table, load_table, own_file, save_table
from edgelr.latency.table import Head, Table
from edgelr.latency.verifying import Verified, verify
from edgelr.latency.wanted import operations_of_network
from edgelr.pipeline.files import draft
from edgelr.pipeline.machine import attached, place_of
from edgelr.pipeline.precision import Form, Precision
from edgelr.pipeline.settings import Settings
from edgelr.pipeline.source import input_shape, inspect, read_network
from edgelr.vocabulary import Format, Numbers

Tell = Callable[[str], None]
# What four of five whole files stayed within on an x86-64 machine, by tables built without them: docs/benchmarks/predicted.md.
IN_NETWORK = {"litert": 0.12, "onnxruntime": 0.16}
ENOUGH = 8  # rows of a family, for what is predicted when one is left out to say anything
FORMATS: dict[str, Format] = {runtime: format for format, runtime in RUNTIMES.items()}


@dataclass(frozen=True)
class Stored:
    """A table that was built, and the file that it is in. ``left_out`` says why operations have no row."""

    path: Path
    built: Built
    left_out: dict[Operation, str]


def build_tables(
    settings: Settings, numbers: Sequence[Numbers], *, runtime: str = "", minutes: float = 0.0, out: str = "", tell: Tell
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
            source = DeviceRows(device, format, target.threads, blocked=_blocked(told, format))
            tell(f"{RUNTIMES[format]}: measuring operations on {device.address}, kept in {file}")
            head = _head(target, told, format)
            tell(f"{RUNTIMES[format]}: how far weights come from in large networks")
            far = measure_far(device, format, target.threads, [n for n in numbers if n != "dynamic"], blocked=_blocked(told, format))
            built = build(
                replace(head, conditions={**head.conditions, **far.conditions()}),
                _wanted(settings, format, numbers, step, _blocked(told, format)),
                source,
                known=known,
                minutes=minutes / len(formats),
                save=lambda table, file=file: save_table(file, table),  # type: ignore[misc]
                tell=lambda text, format=format: tell(f"{RUNTIMES[format]}: {text}"),  # type: ignore[misc]
            )
            built = replace(built, table=_banded(built.table))
            save_table(file, built.table)
            stored.append(Stored(file, built, source.left_out))
        return stored


def verify_table(text: str, *, runtime: str, path: str = "", rows: int = 30, seed: int = 0, tell: Tell) -> list[tuple[Found, Verified]]:
    """Measure rows of the target's tables again on the device that it names. Raises UsageError where it has no table or names no device."""
    with device_of(text, runtime, False) as (target, device, formats):
        done = []
        for format in formats:
            found = find_table(target.name, RUNTIMES[format], path, core=target.core, threads=target.threads)
            if found is None:
                continue
            tell(f"{RUNTIMES[format]}: measuring {min(rows, len(found.table.rows))} rows of {found.path} again")
            blocked = _blocked(device.describe(RUNTIMES[format]), format)
            source = DeviceRows(device, format, target.threads, blocked=blocked)
            done.append((found, verify(found.table, source, count=rows, seed=seed)))
        if not done:
            raise UsageError(f"{target.name} has no latency table to verify", "none was built or shipped", "edgelr table build")
        return done


def calibrate_tables(
    text: str, measured: Sequence[tuple[Path, float]], *, board: str, path: str = "", out: str = ""
) -> list[tuple[Path, Calibrated]]:
    """The target's tables refitted to files' latencies (milliseconds) measured on a board, and written to the user's own folder.

    One table for each format of the files. Raises UsageError where there is no table of that format, BadInputError for an unreadable file.
    """
    target = place_of(text).target
    formats: dict[Format, list[tuple[Path, float]]] = {}
    for file, ms in measured:
        formats.setdefault(_format_of(file), []).append((file, ms))
    if out and len(formats) > 1:
        raise UsageError(f"-o {out} is one file, and there are {len(formats)} tables", "each runtime has its own", "leave -o out")
    done = []
    for format, files in sorted(formats.items()):
        found = find_table(target.name, RUNTIMES[format], path, core=target.core, threads=target.threads)
        if found is None:
            raise UsageError(f"{target.name} has no latency table for {RUNTIMES[format]}", "nothing can be refitted", "edgelr table build")
        pricer = Pricer(found.table)
        wholes = [priced(file.name, _bytes(file), format, ms * 1e3, pricer) for file, ms in files]
        result = calibrate(found.table, wholes, board)
        kept = Path(out) if out else own_file(target.name, RUNTIMES[format])
        save_table(kept, result.table)
        done.append((kept, result))
    return done


@contextmanager
def device_of(text: str, runtime: str, strict: bool) -> Iterator[tuple[Target, Device, tuple[Format, ...]]]:
    """The device that a target names (this machine for host), closed at the end, with the formats of its runtimes.

    Raises UsageError where it names none, DeviceError where it can't be reached.
    """
    place = place_of(text)
    address = place.address or ("local" if place.target.name == "host" else "")
    if not address:
        raise UsageError(
            f"{place.target.name} has no device attached", "rows are measured on a real one", f"edgelr table … {text}@ssh://user@host"
        )
    if runtime and runtime not in place.target.runtimes:
        raise UsageError(f"{place.target.name} has no runtime '{runtime}'", "", f"one of {', '.join(place.target.runtimes)}")
    runtimes = {FORMATS[r]: r for r in place.target.runtimes if runtime in ("", r)}
    machine = attached(replace(place, address=address), runtimes, strict)
    try:
        yield place.target, machine.device, tuple(runtimes)
    finally:
        machine.close()


def _blocked(told: Described, format: Format) -> bool:
    """Whether ONNX Runtime has float layouts of its own there: on x86-64."""
    return format == "onnx" and told.machine.lower() in ("x86_64", "amd64")


def _wanted(settings: Settings, format: Format, numbers: Sequence[Numbers], step: int, blocked: bool) -> tuple[Operation, ...]:
    if not settings.model:
        layouts = reorders() if blocked and "float" in numbers else ()
        return (*(o for n in numbers for o in grid(format, n)), *layouts)
    name, network = read_network(settings)
    graph = inspect(name, network, input_shape(settings, None)).graph
    found: list[Operation] = []
    for n in numbers:
        data = draft(graph, (format,), Precision({format: Form(n)}))[format]
        found += operations_of_network((cut.operation for cut in cut_operators(data, format, blocked=blocked)), step)
    return tuple(dict.fromkeys(found))


def _head(target: Target, told: Described, format: Format) -> Head:
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


def _format_of(file: Path) -> Format:
    if file.suffix not in (".tflite", ".onnx"):
        raise UsageError(f"{file} is no .tflite or .onnx file", "", "--measured model.tflite:12.3ms")
    return "tflite" if file.suffix == ".tflite" else "onnx"


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise BadInputError(f"{file} can't be read", error.strerror or str(error), "") from error
