"""Rows, and what is measured in turns with them: a busy device is another one every few minutes."""
from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

from edgelr.latency.operation import Operation
from edgelr.latency.row_source import RowSource
from edgelr.latency.table import Row


class Turns:
    """A source's rows, and what ``then`` does after those that were wanted together, if it didn't for ``every_s`` seconds."""

    def __init__(self, source: RowSource, then: Callable[[], None], every_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._source, self._then, self._every_s, self._clock = source, then, every_s, clock
        self._since = clock()

    @property
    def call_us(self) -> float:
        return self._source.call_us

    def rows(self, operations: Iterable[Operation]) -> Iterator[Row]:
        yield from self._source.rows(operations)
        if self._clock() - self._since > self._every_s:
            self._then()
            self._since = self._clock()
