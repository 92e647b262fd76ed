"""Rows of a table, measured on a device: single-operation files among their neighbours, the cost of a call taken off."""
from __future__ import annotations

from collections.abc import Iterable, Iterator
from statistics import median
from typing import Protocol

from edgelr.devices import Device
from edgelr.errors import UnsupportedError
from edgelr.latency.alone import times_alone
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

    ``blocked``: the device takes ``.onnx`` files with ONNX Runtime's float layouts for x86-64.
    """

    def __init__(self, device: Device, format: Format, threads: int, *, blocked: bool = False) -> None:
        self._device, self._format, self._threads, self._blocked = device, format, threads, blocked
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
        for name, alone in told:
            spread, us = alone.calls, alone.us
            if spread.flags:
                self._leave_out(named[name], "; ".join(spread.flags))
                continue
            self._calls.append(alone.call_us)
            half_width = min((spread.high - spread.low) / 2 / us, 10.0) if us > 0 else 0.0
            yield Row(named[name], us, half_width, spread.n, alone.pace_us)

    def _files(self, named: dict[str, Operation]) -> Iterator[tuple[str, bytes]]:
        for name, operation in named.items():
            try:
                yield name, sample(operation, self._format, blocked=self._blocked)
            except UnsupportedError as error:
                self._leave_out(operation, error.why)

    def _leave_out(self, operation: Operation | None, why: str) -> None:
        if operation is not None:
            self.left_out[operation] = why
