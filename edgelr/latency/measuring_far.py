"""What operations cost more inside networks than alone on a device: how far their weights and values come from there."""
from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable

from edgelr.devices import Device, RowTimes
from edgelr.latency.alone import alone_at, times_alone
from edgelr.latency.cut import cut_operators
from edgelr.latency.far import Far, Reference, far_from
from edgelr.latency.operation import Operation
from edgelr.latency.pace import PACE, Paced, is_calm, paced, undisturbed, whole_us
from edgelr.latency.reference_nets import reference_files
from edgelr.latency.table import Row
from edgelr.latency.visits import mean_row
from edgelr.vocabulary import Format, Numbers

BEFORE, LEAST, MOST = 2, 4, 7  # processes: before the rows; in all; and of what wasn't calm by then
_CALM_ROUNDS = 20  # rounds of each network at the table's pace


class Inside:
    """What operations cost more inside networks on a device, in all number formats of a table: measured before its rows, between them and
    after them.

    Caches that others use too hold more at one time than at another: what is measured within minutes tells of these alone. At a pace of
    ``pace_us``, or without one at that of the device undisturbed, as the first measurements saw it. ``seconds``: what the last took.
    """

    def __init__(
        self, device: Device, format: Format, threads: int, numbers: Iterable[Numbers], *, blocked: bool = False, pace_us: float = 0.0
    ) -> None:
        self.pace_us, self.seconds = pace_us, 0.0
        self._every = [References(device, format, threads, n, blocked=blocked) for n in numbers if n != "dynamic"]
        self._processes = 0

    def again(self) -> None:
        """Once more all of it: about 20 s for each number format on a busy x86-64 machine. Raises what the device's ``measure`` and
        ``rows`` raise.
        """
        start = time.monotonic()
        for references in self._every:
            references.measure()
        self._processes, self.seconds = self._processes + 1, time.monotonic() - start

    def measure(self, least: int, most: int) -> Far:
        """Until it was measured in ``least`` processes, and in up to ``most`` what wasn't calm often enough: what all of them tell."""
        while self._processes < least:
            self.again()
        self.pace_us = self.pace_us or pace_seen(self._every)
        for _ in range(self._processes, most):
            for references in self._every:
                references.measure(self.pace_us)
        return far_from({references.numbers: references.told(self.pace_us) for references in self._every})


def pace_seen(every: Iterable[References]) -> float:
    """The device's own, of the paces that all of them met."""
    return undisturbed([us for references in every for us in references.paces_us])


class References:
    """The reference networks of one number format, measured on a device as often as ``measure`` is called, in a process each time.

    What is looked for is a tenth of a network's time, and processes differ by more where a device is busy: each network and each of its
    operations, timed as a row is, is told at one pace. ``paces_us``: the pace at each call.
    """

    def __init__(self, device: Device, format: Format, threads: int, numbers: Numbers, *, blocked: bool = False) -> None:
        self.numbers: Numbers = numbers
        self.paces_us: list[float] = []
        self._device, self._format, self._threads = device, format, threads
        self._files = reference_files(format, numbers)
        self._cuts = {name: list(cut_operators(data, format, blocked=blocked)) for name, data in self._files.items()}
        self._alone = {cut.key: cut for each in self._cuts.values() for cut in each}
        self._wholes: dict[str, list[Paced]] = defaultdict(list)
        self._rows: dict[Operation, list[RowTimes]] = defaultdict(list)

    def measure(self, calm_at_us: float = 0.0) -> None:
        """Once more: all operations, then each network by itself; of a pace only what wasn't measured at it often enough yet."""
        operations = {str(i): cut.operation for i, cut in enumerate(self._alone.values())}
        if calm_at_us == 0 or not all(any(is_calm(row, calm_at_us) for row in self._told(o, calm_at_us)) for o in operations.values()):
            singles = ((str(i), cut.data) for i, cut in enumerate(self._alone.values()))
            for name, times in times_alone(self._device, operations, singles, self._format, self._threads):
                self._rows[operations[name]].append(times)
                self.paces_us += times.gauges_us[PACE]
        for name, data in self._files.items():
            if calm_at_us > 0 and sum(is_calm(visit, calm_at_us) for visit in self._wholes[name]) >= _CALM_ROUNDS:
                continue
            rounds = paced(self._device, data, self._format, self._threads, rounds=20, min_seconds=0.3)
            self._wholes[name] += rounds
            self.paces_us += [one.pace_us for one in rounds]

    def told(self, pace_us: float) -> list[Reference]:
        """Each network and its operations as measured at a pace."""
        every = [alone_at(times, pace_us) for visits in self._rows.values() for times in visits]
        call_us, told = whole_us([Paced(alone.call_us, alone.pace_us) for alone in every], pace_us), []
        for name, cuts in self._cuts.items():
            whole, operations = whole_us(self._wholes[name], pace_us) - call_us, tuple(c.operation for c in cuts)
            alone = sum(mean_row(self._told(operation, pace_us), pace_us).us for operation in operations)
            told.append(Reference(whole, alone / whole, operations))
        return told

    def _told(self, operation: Operation, pace_us: float) -> list[Row]:
        return [alone_at(times, pace_us).row(operation) for times in self._rows[operation]]
