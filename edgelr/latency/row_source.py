"""Rows of a table, measured on a device: single-operation files among their neighbours, the cost of a call taken off."""
from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from statistics import median
from typing import Protocol

from edgelr.devices.device import Device, RowTimes
from edgelr.errors import UnsupportedError
from edgelr.latency.gauges import call_us, gauge_files
from edgelr.latency.machine import RUNTIMES
from edgelr.latency.operation import Operation
from edgelr.latency.samples import sample
from edgelr.latency.table import Row
from edgelr.vocabulary import Format


class RowSource(Protocol):
    """Gives rows for operations, as soon as each is known; leaves out those that can't be had."""

    def rows(self, operations: Iterable[Operation]) -> Iterator[Row]: ...

    @property
    def call_us(self) -> float:
        """What a call costs beyond its operations; known once rows were given."""


class DeviceRows:
    """Rows measured on ``device``. ``left_out`` says of each operation without a row why: no file of it, refused, not to be trusted."""

    def __init__(self, device: Device, format: Format, threads: int) -> None:
        self._device, self._format, self._threads = device, format, threads
        self._calls: list[float] = []
        self.left_out: dict[Operation, str] = {}

    @property
    def call_us(self) -> float:
        return median(self._calls) if self._calls else 0.0

    def rows(self, operations: Iterable[Operation]) -> Iterator[Row]:
        named = {f"row{i}": operation for i, operation in enumerate(operations)}
        gauges = gauge_files(self._format)
        gauged: dict[str, float] = {}
        waiting: list[tuple[Operation, RowTimes]] = []
        times = self._device.rows(
            chain(gauges.items(), self._files(named)),
            runtime=RUNTIMES[self._format],  # type: ignore[arg-type]
            threads=self._threads,
            refused=lambda name, why: self._leave_out(named.get(name), why),
        )
        for name, spread, _ in times:
            if name in gauges:
                gauged[name] = spread.median
                if len(gauged) == len(gauges):
                    self._calls.append(call_us(gauged))
                    gauged.clear()
            elif spread.flags:
                self._leave_out(named[name], "; ".join(spread.flags))
            else:
                waiting.append((named[name], spread))
            while self._calls and waiting:
                yield self._row(*waiting.pop(0))

    def _row(self, operation: Operation, spread: RowTimes) -> Row:
        us = max(spread.median - self.call_us, 0.0)
        half_width = min((spread.high - spread.low) / 2 / us, 10.0) if us > 0 else 0.0
        return Row(operation, us, half_width, spread.n)

    def _files(self, named: dict[str, Operation]) -> Iterator[tuple[str, bytes]]:
        for name, operation in named.items():
            try:
                yield name, sample(operation, self._format)
            except UnsupportedError as error:
                self._leave_out(operation, error.why)

    def _leave_out(self, operation: Operation | None, why: str) -> None:
        if operation is not None:
            self.left_out[operation] = why
