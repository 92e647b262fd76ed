"""How far weights and values come from on a device, in networks larger than its cache."""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from statistics import median

from edgelr.devices import Device
from edgelr.latency.alone import times_alone
from edgelr.latency.cut import cut_operators
from edgelr.latency.far import Far, Reference, Shares, far_us_per_kb, reference_files
from edgelr.latency.machine import RUNTIMES
from edgelr.vocabulary import Format, Numbers

PROCESSES = 5


def measure_far(device: Device, format: Format, threads: int, numbers: Iterable[Numbers], *, blocked: bool = False) -> Far:
    """From networks measured whole and operation by operation there; about 40 s for each of ``numbers`` on a fast machine.

    Dynamic operations, which are linear layers, go by what int8 ones take. Raises what the device's ``measure`` and ``rows`` raise.
    """
    found: dict[str, Shares] = {}
    for n in numbers:
        if n != "dynamic":
            found[n] = far_us_per_kb(references(device, format, threads, n, blocked))
    if "int8" in found:
        found["dynamic"] = found["int8"]
    return Far(found)


def references(device: Device, format: Format, threads: int, numbers: Numbers, blocked: bool) -> list[Reference]:
    """The reference networks, measured there; each operation as a row is, among others.

    What is looked for is a tenth of a network's time, and processes differ by some per cent: all is measured in several of them, each
    network alone. Told by the second fastest process: other users of the machine only ever slow one down (by their share of the last
    cache), and a single one may be lucky with its memory.
    """
    files = reference_files(format, numbers)
    cuts = {name: list(cut_operators(data, format, blocked=blocked)) for name, data in files.items()}
    alone = {cut.key: cut for each in cuts.values() for cut in each}
    number = {key: str(i) for i, key in enumerate(alone)}
    operations = {number[key]: cut.operation for key, cut in alone.items()}
    us: dict[str, list[float]] = defaultdict(list)
    whole: dict[str, list[float]] = defaultdict(list)
    for _ in range(PROCESSES):
        calls: list[float] = []
        singles = ((number[key], cut.data) for key, cut in alone.items())
        for name, told in times_alone(device, operations, singles, format, threads):
            calls.append(told.call_us)
            us[name].append(told.us)
        for name, data in files.items():
            measured = device.measure({name: data}, runtime=RUNTIMES[format], threads=threads, rounds=20, min_seconds=0.5)
            whole[name].append(measured[name].median * 1e3 - median(calls))
    return [Reference(sorted(whole[name])[1], [(c.operation, sorted(us[number[c.key]])[1]) for c in each]) for name, each in cuts.items()]
