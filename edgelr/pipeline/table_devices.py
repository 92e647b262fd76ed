"""The devices that latency tables are of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from edgelr.devices import Device, Target
from edgelr.devices.described import Described
from edgelr.errors import UsageError
from edgelr.latency.machine import RUNTIMES
from edgelr.pipeline.machine import attached, place_of
from edgelr.vocabulary import Format

FORMATS: dict[str, Format] = {runtime: format for format, runtime in RUNTIMES.items()}


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


def own_layouts(told: Described, format: Format) -> bool:
    """Whether ONNX Runtime has float layouts of its own there: on x86-64."""
    return format == "onnx" and told.machine.lower() in ("x86_64", "amd64")
