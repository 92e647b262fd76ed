"""Which machine a run's latencies come from: this one, a device that the target names after its @, or the target's tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgelr.devices import Described, Device, Runtime, Target, load_target, saturates
from edgelr.devices.attach import open_transport
from edgelr.errors import DeviceError, UsageError
from edgelr.latency import RUNTIMES, Here, Machine
from edgelr.latency.attached import Attached
from edgelr.latency.store import find_table
from edgelr.latency.table import Table
from edgelr.latency.tabled import Tabled
from edgelr.vocabulary import Format

HERE = ("", "local")
EMULATED = "emulated"


@dataclass(frozen=True)
class Place:
    """A target, and how a device of its kind is reached: "" for none."""

    target: Target
    address: str


def place_of(text: str) -> Place:
    """``raspberry-pi-5``, ``raspberry-pi-5@ssh://pi@192.0.2.7`` or a path to a target's folder. Raises UsageError for an unknown target."""
    name, _, address = (text, "", "") if Path(text).exists() else text.partition("@")
    target = load_target(name)
    if target.name == "host" and saturates():
        target = replace(target, weight_bits=7)
    if target.name == "host" and address not in HERE:
        raise UsageError(f"'{text}' can't be attached", "host is this machine", "name the target that the device is: raspberry-pi-5@ssh://…")
    return Place(target, address)


def machine_of(place: Place, formats: Sequence[Format], *, strict: bool = False, table: str = "") -> Machine:
    """Where latencies come from.

    Raises UsageError where a target has neither device nor table, DeviceError where the device can't be reached, BadInputError for a
    table that can't be used.
    """
    target = place.target
    runtimes = {f: RUNTIMES[f] for f in formats if RUNTIMES[f] in target.runtimes}
    if target.name == "host" and not table:
        return Here.of(runtimes, target.threads, strict)
    if place.address in ("", EMULATED) or table:
        return tabled(target, runtimes, table)
    return attached(place, runtimes, strict)


def tabled(target: Target, runtimes: Mapping[Format, Runtime], path: str) -> Tabled:
    """A target by its tables. Raises UsageError where one is missing."""
    found = tables_of(target, tuple(runtimes), path)
    missing = [runtime for format, runtime in runtimes.items() if format not in found.tables]
    if missing:
        raise UsageError(
            f"{target.name} has no latency table for {' and '.join(missing)}",
            "without a device its latencies can only be read from a table",
            f"attach it (--target {target.name}@ssh://user@host), build a table (edgelr table build), or leave the format out (--format)",
        )
    return Tabled(found.tables, found.labels)


def attached(place: Place, runtimes: Mapping[Format, Runtime], strict: bool) -> Attached:
    """The device that a target names.

    Raises DeviceError where it can't be reached or lacks a runtime, UsageError where it is another device, MeasurementError for an
    emulated one: its times mean nothing.
    """
    device = Device(open_transport(place.address))
    try:
        told = device.describe()
        device.must_be_timed()
        check_is(told, place.target, device.address)
        lacking = [r for r in runtimes.values() if r not in told.runtimes]
        if lacking:
            packages = [place.target.packages.get(r, "ai-edge-litert" if r == "litert" else r) for r in lacking]
            raise DeviceError(
                f"{device.address} has no {' and '.join(lacking)}",
                f"its Python is {told.python}",
                f"on the device: python3 -m pip install {' '.join(packages)}; or leave the format out (--format)",
            )
    except BaseException:
        device.close()
        raise
    return Attached(device, f"{told.name} at {device.address.partition('?')[0]}", runtimes, place.target.threads, strict)


def check_is(told: Described, target: Target, address: str) -> None:
    """Raises UsageError where a device's cores are not the target's: its kernels, and so its ranks and tables, would be others."""
    cores = {cpu.core for cpu in told.cpus}
    if target.core and cores and target.core not in cores:
        raise UsageError(
            f"{address} is no {target.name}",
            f"its cores are {', '.join(sorted(cores))}, and the target's is {target.core}",
            "name the target that it is (edgelr targets), or the path of a folder of your own",
        )


@dataclass(frozen=True)
class Tables:
    """A target's latency tables by format, and what is to be said of them."""

    tables: Mapping[Format, Table]
    labels: tuple[str, ...]


def tables_of(target: Target, formats: Sequence[Format], path: str = "") -> Tables:
    """The target's tables for these formats, those that the user built before those that are shipped; ``path`` names one instead."""
    tables: dict[Format, Table] = {}
    labels: list[str] = []
    for format in formats:
        found = find_table(target.name, RUNTIMES[format], path, core=target.core, threads=target.threads)
        if found is not None:
            tables[format] = found.table
            labels += [f"the table of {target.name} for {RUNTIMES[format]}: {label}" for label in found.labels]
    return Tables(tables, tuple(labels))
