"""Operations on a device, each as a file of its own: one way of timing them, whatever the times are for."""
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from edgelr.devices import Device, RowTimes, Spread, spread
from edgelr.latency.gauges import CHAIN, ONE, call_us, gauge_files, own_us
from edgelr.latency.machine import RUNTIMES
from edgelr.latency.operation import Operation
from edgelr.latency.operation_bytes import stays_near
from edgelr.latency.pace import PACE, is_at
from edgelr.latency.reference_nets import pace_file
from edgelr.latency.table import Row
from edgelr.vocabulary import Format

_GAUGES = (ONE, CHAIN, PACE)
FEWEST = 5  # calls at a pace, for them to be told by


@dataclass(frozen=True)
class Alone:
    """``us`` of the operation itself, ``call_us`` of a call and ``pace_us`` of the device's pace meanwhile, and the ``calls`` of its file
    that they are from, of operation and call together.
    """

    us: float
    call_us: float
    pace_us: float
    calls: Spread

    def row(self, operation: Operation) -> Row:
        """With the calls' interval as a share of the operation's own time."""
        half_width = min((self.calls.high - self.calls.low) / 2 / self.us, 10.0) if self.us > 0 else 0.0
        return Row(operation, self.us, half_width, self.calls.n, self.pace_us)


def alone_at(times: RowTimes, pace_us: float = 0.0) -> Alone:
    """By the calls between two gauges at a pace; by all of them where fewer than ``FEWEST`` were, or without a pace.

    What disturbs a core comes and goes within a row's calls: of 360 visits of rows on a shared x86-64 host 10 and 18 % were at its own
    pace by their medians (ONNX Runtime, LiteRT), and 67 and 52 % had calls between two gauges at it.
    """
    calm = [pace_us > 0 and is_at(us, pace_us) for us in times.gauges_us[PACE]]
    every = list(zip(times.calls_us, *(times.gauges_us[name] for name in _GAUGES), strict=True))
    chosen = [call for call, (before, after) in zip(every, pairwise(calm), strict=False) if before and after]
    us, *gauges_us = zip(*(chosen if len(chosen) >= FEWEST else every), strict=True)
    of, calls = dict(zip(_GAUGES, map(median, gauges_us), strict=True)), spread(us)
    return Alone(own_us(calls.median, of), call_us(of), of[PACE], calls)


def times_alone(
    device: Device,
    operations: Mapping[str, Operation],
    files: Iterator[tuple[str, bytes]],
    format: Format,
    threads: int,
    *,
    refused: Callable[[str, str], None] | None = None,
) -> Iterator[tuple[str, RowTimes]]:
    """Each file's times as they come, by its name in ``operations``, among its neighbours; near to it what is near inside a network.

    Raises what ``Device.rows`` raises.
    """
    rows = device.rows(
        files,
        runtime=RUNTIMES[format],
        threads=threads,
        gauges={**gauge_files(format), PACE: pace_file(format)},
        near=lambda name: name == PACE or (name in operations and stays_near(operations[name])),
        refused=refused,
    )
    return ((name, times) for name, times, _ in rows)
