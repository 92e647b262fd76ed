"""A device's pace: what one small network takes there, measured beside whatever else is.

What disturbs a core lasts from milliseconds to minutes: a neighbour on the same core (a shared x86-64 host: 1.0 or 1.4 times as long for
the same work, in turns), its clock, heat. What is measured one after the other meets another hour of it each time, so it is measured when
the pace is the table's, that of the device undisturbed; and what never was, is told as it would take there: times the table's pace over
the pace meanwhile. Of operations and networks visited twelve times in two minutes on such a host that took the standard deviation from 15
and 20 % to 7 and 11 % (rows below 0.1 ms, LiteRT and ONNX Runtime), from 11 and 12 % to 8 % (longer ones), from 11 and 13 % to 5 and 7 %
(networks). It is a makeshift: kernels that wait for memory slow down by a third less, small ones by a third more.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Protocol, TypeVar

from edgelr.devices import Device
from edgelr.errors import BadInputError
from edgelr.latency.machine import RUNTIMES
from edgelr.latency.reference_nets import pace_file
from edgelr.latency.table import Row
from edgelr.vocabulary import Format

PACE = "pace"  # the gauge's name
CALM = 0.05  # a pace within this of the table's is that pace: calm processes differ by 2 %
_KEY = "pace_us"


class Visit(Protocol):
    """Whatever was measured beside the pace. Without one (0) nothing speaks against it."""

    @property
    def pace_us(self) -> float: ...


V = TypeVar("V", bound=Visit)


@dataclass(frozen=True)
class Paced:
    """Microseconds of a whole network in one round, and of the pace's network in the same."""

    us: float
    pace_us: float

    def at(self, pace_us: float) -> float:
        """The network's microseconds where the pace's network takes so many."""
        return self.us * pace_us / self.pace_us


def paced(device: Device, data: bytes, format: Format, threads: int, *, rounds: int, min_seconds: float) -> tuple[Paced, ...]:
    """A whole file measured on a device, round by round, beside the pace. Raises what ``Device.measure`` raises."""
    files = {"network": data, PACE: pace_file(format)}
    m = device.measure(files, runtime=RUNTIMES[format], threads=threads, rounds=rounds, min_seconds=min_seconds)
    return tuple(Paced(ms * 1e3, pace_ms * 1e3) for ms, pace_ms in zip(m.rounds_ms["network"], m.rounds_ms[PACE], strict=True))


def middle(rounds: Sequence[Paced]) -> Paced:
    """Both medians, as they were clocked."""
    return Paced(median(one.us for one in rounds), median(one.pace_us for one in rounds))


def is_at(us: float, pace_us: float) -> bool:
    """Whether one time of the pace's network is that pace; both above 0."""
    return abs(us / pace_us - 1) <= CALM


def is_calm(visit: Visit, pace_us: float) -> bool:
    """Whether it was measured at that pace; yes where either isn't known."""
    return not (pace_us > 0 and visit.pace_us > 0) or is_at(visit.pace_us, pace_us)


def calm_first(visits: Sequence[V], pace_us: float) -> Sequence[V]:
    """The visits at that pace; all where none was."""
    return [visit for visit in visits if is_calm(visit, pace_us)] or visits


def whole_us(visits: Sequence[Paced], pace_us: float) -> float:
    """A network's microseconds at a pace: the median of the rounds at it, or of all as they would be there."""
    return median(visit.at(pace_us) for visit in calm_first(visits, pace_us))


def undisturbed(paces_us: Sequence[float]) -> float:
    """The device's own pace, of all that was seen: a tenth of them are faster."""
    return sorted(paces_us)[len(paces_us) // 10] if paces_us else 0.0


def at_pace(row: Row, pace_us: float) -> Row:
    """The row as it would be at a pace; as it is where either pace isn't known."""
    known = pace_us > 0 and row.pace_us > 0
    return replace(row, us=row.us * (pace_us / row.pace_us), pace_us=pace_us) if known else row


def pace_of(conditions: Mapping[str, str]) -> float:
    """The pace that a table's rows are told at, from its head; 0 where it doesn't say. Raises BadInputError for a damaged head."""
    try:
        return float(conditions.get(_KEY, "0"))
    except ValueError as error:
        raise BadInputError("The latency table is damaged.", f"{_KEY} isn't a number.", "build it again") from error


def told_pace(pace_us: float) -> dict[str, str]:
    """For a table's head; nothing where the pace isn't known."""
    return {_KEY: f"{pace_us:.4f}"} if pace_us > 0 else {}
