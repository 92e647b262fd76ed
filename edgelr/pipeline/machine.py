"""Which machine a run's latencies come from: this one, a device that the target names after its @, or the target's tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgelr.devices import Target, load_target, saturates
from edgelr.errors import UsageError
from edgelr.latency import RUNTIMES, Here, Machine
from edgelr.vocabulary import Format

HERE = ("", "local")


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
    if place.address in ("", "emulated") or table:
        return tabled(target, runtimes, table)
    return attached(place, runtimes, strict)


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
        found = find_table(target.name, RUNTIMES[format], path)
        if found is not None:
            tables[format] = found.table
            labels += found.labels
    return Tables(tables, tuple(labels))
