"""Whether a latency table still holds: rows drawn at random are had again and compared."""
from __future__ import annotations

from dataclasses import dataclass
from statistics import median

import numpy as np

from edgelr.errors import MeasurementError
from edgelr.latency.operation import Operation
from edgelr.latency.row_source import RowSource
from edgelr.latency.table import Row, Table

LIMIT = 0.10  # the median of the differences beyond which a measured table doesn't hold
LEAST_US = 1.0  # a difference is told against this much at least: smaller operations differ by what a call does


@dataclass(frozen=True)
class Verified:
    """``pairs``: each drawn row and the one that was had now. ``limit`` is what ``off`` may be for the table to hold."""

    pairs: tuple[tuple[Row, Row], ...]
    limit: float

    @property
    def differences(self) -> dict[Operation, float]:
        """By how much each is slower now, as a share (negative: faster)."""
        return {was.operation: (now.us - was.us) / max(was.us, LEAST_US) for was, now in self.pairs}

    @property
    def off(self) -> float:
        """The median of the differences' sizes."""
        return median(abs(d) for d in self.differences.values())

    @property
    def bias(self) -> float:
        """The median difference: all slower (above 0) or all faster than the table."""
        return median(self.differences.values())

    @property
    def within(self) -> int:
        """How many are within the intervals of both measurements, or the limit."""
        spans = [max(was.half_width + now.half_width, self.limit) for was, now in self.pairs]
        return sum(abs(d) <= span for d, span in zip(self.differences.values(), spans, strict=True))

    @property
    def holds(self) -> bool:
        return self.off <= self.limit


def verify(table: Table, source: RowSource, *, count: int = 30, seed: int = 0) -> Verified:
    """Draw ``count`` rows at random (seeded) and have them again. A simulated table may be off by its band.

    Raises MeasurementError where the source gives none of them.
    """
    operations = sorted(table.rows)
    order = np.random.default_rng(seed).permutation(len(operations))[:count]
    now = {row.operation: row for row in source.rows([operations[i] for i in sorted(order)])}
    pairs = tuple((table.rows[o], row) for o, row in now.items())
    if not pairs:
        raise MeasurementError("The table can't be verified.", "none of the rows drawn could be measured now.", "draw more: --rows")
    return Verified(pairs, max(LIMIT, table.head.band) if table.head.how == "simulated" else LIMIT)
