"""Operations on a device, each as a file of its own: one way of timing them, whatever the times are for."""
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from edgelr.devices import Device, RowTimes
from edgelr.latency.gauges import call_us, gauge_files, own_us
from edgelr.latency.machine import RUNTIMES
from edgelr.latency.operation import Operation
from edgelr.latency.operation_bytes import stays_near
from edgelr.vocabulary import Format


@dataclass(frozen=True)
class Alone:
    """``us`` of the operation itself, ``call_us`` of a call at that time, and the calls of its file, of both together."""

    us: float
    call_us: float
    calls: RowTimes


def times_alone(
    device: Device,
    operations: Mapping[str, Operation],
    files: Iterator[tuple[str, bytes]],
    format: Format,
    threads: int,
    *,
    refused: Callable[[str, str], None] | None = None,
) -> Iterator[tuple[str, Alone]]:
    """Each file's time as it comes, by its name in ``operations``, among its neighbours; near to it what is near inside a network.

    Raises what ``Device.rows`` raises.
    """
    rows = device.rows(
        files,
        runtime=RUNTIMES[format],
        threads=threads,
        gauges=gauge_files(format),
        near=lambda name: stays_near(operations[name]),
        refused=refused,
    )
    for name, calls, _ in rows:
        yield name, Alone(own_us(calls.median, calls.gauges_us), call_us(calls.gauges_us), calls)
