"""How far weights and values come from on a device, in networks larger than its cache."""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from statistics import median

from edgelr.devices import Device
from edgelr.latency.alone import times_alone
from edgelr.latency.cut import cut_operators
from edgelr.latency.far import Far, Reference, far_us_per_kb
from edgelr.latency.pace import paced
from edgelr.latency.reference_nets import reference_files
from edgelr.vocabulary import Format, Numbers

PROCESSES = 5


def measure_far(
    device: Device, format: Format, threads: int, numbers: Iterable[Numbers], *, blocked: bool = False, pace_us: float = 0.0
) -> tuple[Far, float]:
    """From networks measured whole and operation by operation there; about 40 s for each of ``numbers`` on a fast machine.

    At a pace of ``pace_us``, or without one at the pace of the time; gives the pace too. Raises what the device's ``measure`` and ``rows``
    raise.
    """
    every = [References(device, format, threads, n, blocked=blocked) for n in numbers if n != "dynamic"]
    for _ in range(PROCESSES):
        for references in every:
            references.measure()
    paces_us = [us for references in every for us in references.paces_us]
    pace_us = pace_us or (median(paces_us) if paces_us else 0.0)
    return far_of(every, pace_us), pace_us


class References:
    """The reference networks of one number format, measured on a device as often as ``measure`` is called, in a process each time.

    What is looked for is a tenth of a network's time, and processes differ by more where a device is busy: each network and each of its
    operations, timed as a row is, is told at one pace. ``paces_us``: the paces meanwhile.
    """

    def __init__(self, device: Device, format: Format, threads: int, numbers: Numbers, *, blocked: bool = False) -> None:
        self.numbers: Numbers = numbers
        self.paces_us: list[float] = []
        self._device, self._format, self._threads = device, format, threads
        self._files = reference_files(format, numbers)
        self._cuts = {name: list(cut_operators(data, format, blocked=blocked)) for name, data in self._files.items()}
        self._alone = {cut.key: cut for each in self._cuts.values() for cut in each}
        self._whole: dict[str, list[float]] = defaultdict(list)  # in paces
        self._sums: dict[str, list[float]] = defaultdict(list)  # of the operations' times, as shares of the whole

    def measure(self) -> None:
        """Once more: all operations, then each network by itself."""
        number = {key: str(i) for i, key in enumerate(self._alone)}
        operations = {number[key]: cut.operation for key, cut in self._alone.items()}
        singles = ((number[key], cut.data) for key, cut in self._alone.items())
        told = dict(times_alone(self._device, operations, singles, self._format, self._threads))
        call = median(each.call_us / each.pace_us for each in told.values())
        self.paces_us += [each.pace_us for each in told.values()]
        for name, data in self._files.items():
            whole = paced(self._device, data, self._format, self._threads, rounds=20, min_seconds=0.5)
            self.paces_us.append(whole.pace_us)
            self._whole[name].append(whole.at(1.0) - call)
            alone = (told[number[cut.key]] for cut in self._cuts[name])
            self._sums[name].append(sum(each.us / each.pace_us for each in alone) / self._whole[name][-1])

    def told(self, pace_us: float) -> list[Reference]:
        """Each network by the medians of what was measured, at a pace."""
        operations = {name: tuple(c.operation for c in cuts) for name, cuts in self._cuts.items()}
        return [Reference(median(self._whole[name]) * pace_us, median(self._sums[name]), each) for name, each in operations.items()]


def far_of(every: Iterable[References], pace_us: float) -> Far:
    """What they tell together at a pace. Dynamic operations, which are linear layers, go by what int8 ones take."""
    found: dict[str, tuple[float, float, float]] = {references.numbers: far_us_per_kb(references.told(pace_us)) for references in every}
    if "int8" in found:
        found["dynamic"] = found["int8"]
    return Far(found)
