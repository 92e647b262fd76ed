"""A device's pace: what one small network takes there, measured beside whatever else is.

What disturbs a core lasts from milliseconds to minutes: a neighbour on the same core (a shared x86-64 host: 1.0 or 1.4 times as long for
the same work, in turns), its clock, heat. Rows that are measured one after the other each meet another hour of it, so each is told at one
pace: what it took, times the table's pace over the pace meanwhile. Of operations and networks visited twelve times in two minutes on such
a host the standard deviation fell from 15 and 20 % to 7 and 11 % (rows below 0.1 ms, LiteRT and ONNX Runtime), from 11 and 12 % to 8 %
(longer ones), from 11 and 13 % to 5 and 7 % (networks).
"""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from edgelr.devices import Device
from edgelr.errors import BadInputError
from edgelr.latency.machine import RUNTIMES
from edgelr.latency.reference_nets import pace_file
from edgelr.latency.table import Row
from edgelr.vocabulary import Format

PACE = "pace"  # the gauge's name
_KEY = "pace_us"


@dataclass(frozen=True)
class Paced:
    """Microseconds of a whole network, and of the pace's network beside it."""

    us: float
    pace_us: float

    def at(self, pace_us: float) -> float:
        """The network's microseconds where the pace's network takes so many."""
        return self.us * pace_us / self.pace_us


def paced(device: Device, data: bytes, format: Format, threads: int, *, rounds: int, min_seconds: float) -> Paced:
    """A whole file measured on a device, the pace in the same rounds. Raises what ``Device.measure`` raises."""
    files = {"network": data, PACE: pace_file(format)}
    m = device.measure(files, runtime=RUNTIMES[format], threads=threads, rounds=rounds, min_seconds=min_seconds)
    return Paced(m["network"].median * 1e3, m[PACE].median * 1e3)


def at_pace(row: Row, pace_us: float) -> Row:
    """The row as it would be at a pace; as it is where either pace isn't known."""
    known = pace_us > 0 and row.pace_us > 0
    return replace(row, us=row.us * pace_us / row.pace_us, pace_us=pace_us) if known else row


def pace_of(conditions: Mapping[str, str]) -> float:
    """The pace that a table's rows are told at, from its head; 0 where it doesn't say. Raises BadInputError for a damaged head."""
    try:
        return float(conditions.get(_KEY, "0"))
    except ValueError as error:
        raise BadInputError("The latency table is damaged.", f"{_KEY} isn't a number.", "build it again") from error


def told_pace(pace_us: float) -> dict[str, str]:
    """For a table's head; nothing where the pace isn't known."""
    return {_KEY: f"{pace_us:.4f}"} if pace_us > 0 else {}
