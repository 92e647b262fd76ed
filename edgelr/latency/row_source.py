"""Rows of a table, measured on a device: single-operation files among their neighbours, the cost of a call taken off."""
from __future__ import annotations

from collections.abc import Iterable, Iterator
from statistics import median
from typing import Protocol

from edgelr.devices import Device
from edgelr.errors import UnsupportedError
from edgelr.latency.alone import alone_at, times_alone
from edgelr.latency.operation import Operation
from edgelr.latency.operation_bytes import held_bytes
from edgelr.latency.samples import sample
from edgelr.latency.table import Row
from edgelr.vocabulary import Format


class RowSource(Protocol):
    """Gives rows for operations, as soon as each is known, with the pace meanwhile; leaves out those that can't be had."""

    def rows(self, operations: Iterable[Operation]) -> Iterator[Row]: ...

    @property
    def call_us(self) -> float:
        """What a call costs beyond its operations; known once rows were given."""


class DeviceRows:
    """Rows measured on ``device``. ``left_out`` says of each operation without a row why: no file of it, refused, not to be trusted.

    ``blocked``: the device takes ``.onnx`` files with ONNX Runtime's float layouts for x86-64. ``pace_us``: rows are told by the calls
    that found the device at that pace, where there were enough.
    """

    def __init__(self, device: Device, format: Format, threads: int, *, blocked: bool = False, pace_us: float = 0.0) -> None:
        self._device, self._format, self._threads, self._blocked, self._pace_us = device, format, threads, blocked, pace_us
        self._calls: list[float] = []
        self.left_out: dict[Operation, str] = {}

    @property
    def call_us(self) -> float:
        return median(self._calls) if self._calls else 0.0

    def rows(self, operations: Iterable[Operation]) -> Iterator[Row]:
        ordered = sorted(operations, key=held_bytes)  # so that neighbours are of a size
        named = {f"row{i}": operation for i, operation in enumerate(ordered)}
        told = times_alone(
            self._device, named, self._files(named), self._format, self._threads,
            refused=lambda name, why: self._leave_out(named.get(name), why),
        )  # fmt: skip
        for name, times in told:
            if times.flags:
                self._leave_out(named[name], "; ".join(times.flags))
                continue
            alone = alone_at(times, self._pace_us)
            self._calls.append(alone.call_us)
            yield alone.row(named[name])

    def _files(self, named: dict[str, Operation]) -> Iterator[tuple[str, bytes]]:
        for name, operation in named.items():
            try:
                yield name, sample(operation, self._format, blocked=self._blocked)
            except UnsupportedError as error:
                self._leave_out(operation, error.why)

    def _leave_out(self, operation: Operation | None, why: str) -> None:
        if operation is not None:
            self.left_out[operation] = why
