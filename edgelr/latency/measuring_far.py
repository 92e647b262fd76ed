"""How far weights and values come from on a device, in networks larger than its cache."""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from statistics import median

from edgelr.devices import Device
from edgelr.latency.alone import times_alone
from edgelr.latency.cut import cut_operators
from edgelr.latency.far import Far, Reference, far_us_per_kb, reference_files
from edgelr.latency.machine import RUNTIMES
from edgelr.vocabulary import Format, Numbers

PROCESSES = 5


def measure_far(device: Device, format: Format, threads: int, numbers: Iterable[Numbers], *, blocked: bool = False) -> Far:
    """From networks measured whole and operation by operation there; about 40 s for each of ``numbers`` on a fast machine.

    Raises what the device's ``measure`` and ``rows`` raise.
    """
    every = [References(device, format, threads, n, blocked=blocked) for n in numbers if n != "dynamic"]
    for _ in range(PROCESSES):
        for references in every:
            references.measure()
    return far_of(every)


class References:
    """The reference networks of one number format, measured on a device as often as ``measure`` is called, in a process each time.

    What is looked for is a tenth of a network's time, and processes differ by some per cent: each network is compared with its operations
    beside it, each as a row is, among others.
    """

    def __init__(self, device: Device, format: Format, threads: int, numbers: Numbers, *, blocked: bool = False) -> None:
        self.numbers: Numbers = numbers
        self._device, self._format, self._threads = device, format, threads
        self._files = reference_files(format, numbers)
        self._cuts = {name: list(cut_operators(data, format, blocked=blocked)) for name, data in self._files.items()}
        self._alone = {cut.key: cut for each in self._cuts.values() for cut in each}
        self._whole_us: dict[str, list[float]] = defaultdict(list)
        self._sums: dict[str, list[float]] = defaultdict(list)  # of the operations' times, as shares of the whole

    def measure(self) -> None:
        """Once more: all operations, then each network by itself."""
        number = {key: str(i) for i, key in enumerate(self._alone)}
        operations = {number[key]: cut.operation for key, cut in self._alone.items()}
        singles = ((number[key], cut.data) for key, cut in self._alone.items())
        told = dict(times_alone(self._device, operations, singles, self._format, self._threads))
        call_us = median(each.call_us for each in told.values())
        for name, data in self._files.items():
            m = self._device.measure({name: data}, runtime=RUNTIMES[self._format], threads=self._threads, rounds=20, min_seconds=0.5)
            self._whole_us[name].append(m[name].median * 1e3 - call_us)
            self._sums[name].append(sum(told[number[c.key]].us for c in self._cuts[name]) / self._whole_us[name][-1])

    def told(self) -> list[Reference]:
        """Each network by the medians of what was measured."""
        operations = {name: tuple(c.operation for c in cuts) for name, cuts in self._cuts.items()}
        return [Reference(median(self._whole_us[name]), median(self._sums[name]), each) for name, each in operations.items()]


def far_of(every: Iterable[References]) -> Far:
    """What they tell together. Dynamic operations, which are linear layers, go by what int8 ones take."""
    found: dict[str, tuple[float, float, float]] = {references.numbers: far_us_per_kb(references.told()) for references in every}
    if "int8" in found:
        found["dynamic"] = found["int8"]
    return Far(found)
