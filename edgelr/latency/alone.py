"""Operations on a device, each as a file of its own: one way of timing them, whatever the times are for."""
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from edgelr.devices import Device, RowTimes
from edgelr.latency.gauges import call_us, gauge_files, own_us
from edgelr.latency.machine import RUNTIMES
from edgelr.latency.operation import Operation
from edgelr.latency.operation_bytes import stays_near
from edgelr.latency.pace import PACE
from edgelr.latency.reference_nets import pace_file
from edgelr.vocabulary import Format


@dataclass(frozen=True)
class Alone:
    """``us`` of the operation itself, ``call_us`` of a call and ``pace_us`` of the device's pace at that time, and the calls of its file,
    of operation and call together.
    """

    us: float
    call_us: float
    pace_us: float
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
        gauges={**gauge_files(format), PACE: pace_file(format)},
        near=lambda name: name == PACE or (name in operations and stays_near(operations[name])),
        refused=refused,
    )
    for name, calls, _ in rows:
        us = calls.gauges_us
        yield name, Alone(own_us(calls.median, us), call_us(us), us[PACE], calls)
