"""Whether a latency table still holds: rows drawn at random are had again and compared; a new one is told by that how sure it is."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import median

import numpy as np

from edgelr.errors import BadInputError, MeasurementError
from edgelr.latency.operation import Operation
from edgelr.latency.pace import at_pace, pace_of
from edgelr.latency.row_source import RowSource
from edgelr.latency.table import Row, Table

LIMIT = 0.10  # the median of the differences beyond which a measured table doesn't hold
PACE_LIMIT = 0.50  # a neighbour on the same core makes 0.4 (measured, a shared x86-64 host); half the clock 1
_KEY = "rows_again"
LEAST_US = 1.0  # a difference is told against this much at least: smaller operations differ by what a call does


@dataclass(frozen=True)
class Verified:
    """``pairs``: each drawn row and the one that was had now, at the table's pace. ``pace``: how many times as long the device's pace takes
    now (1 where it isn't known). ``limit`` is what ``off`` may be for the table to hold.
    """

    pairs: tuple[tuple[Row, Row], ...]
    limit: float
    pace: float = 1.0

    @property
    def differences(self) -> dict[Operation, float]:
        """By how much each is slower now at the same pace, as a share (negative: faster)."""
        return {was.operation: (now.us - was.us) / max(was.us, LEAST_US) for was, now in self.pairs}

    @property
    def off(self) -> float:
        """The median of the differences' sizes."""
        return median(abs(d) for d in self.differences.values())

    @property
    def bias(self) -> float:
        """The median difference at the same pace: all slower (above 0) or all faster than the table."""
        return median(self.differences.values())

    @property
    def within(self) -> int:
        """How many are within the intervals of both measurements, or the limit."""
        spans = [max(was.half_width + now.half_width, self.limit) for was, now in self.pairs]
        return sum(abs(d) <= span for d, span in zip(self.differences.values(), spans, strict=True))

    @property
    def holds(self) -> bool:
        return self.off <= self.limit and abs(self.pace - 1) <= PACE_LIMIT


def verify(table: Table, source: RowSource, *, count: int = 30, seed: int = 0) -> Verified:
    """Draw ``count`` rows at random (seeded) and have them again. A simulated table may be off by its band.

    Raises MeasurementError where the source gives none of them.
    """
    operations = sorted(table.rows)
    order = np.random.default_rng(seed).permutation(len(operations))[:count]
    now = list(source.rows([operations[i] for i in sorted(order)]))
    if not now:
        raise MeasurementError("The table can't be verified.", "none of the rows drawn could be measured now.", "draw more: --rows")
    limit, pace_us = max(LIMIT, table.head.band) if table.head.how == "simulated" else LIMIT, pace_of(table.head.conditions)
    paces = [row.pace_us / pace_us for row in now if row.pace_us > 0 and pace_us > 0]
    pairs = tuple((table.rows[row.operation], at_pace(row, pace_us)) for row in now)
    return Verified(pairs, limit, median(paces) if paces else 1.0)


def sure(table: Table, again: Verified) -> Table:
    """A table with what its rows differed by when they were measured again right after it, in its head and in its band.

    On a device that is busy with something else they differ by more than their own intervals say.
    """
    head, off = table.head, round(min(again.off, 10.0), 3)  # as the band is, so that it covers what the head says
    told = f"{head.band_from}; rows measured again differ by {off:.1%} (median of {len(again.pairs)})"
    return replace(table, head=replace(head, band=max(head.band, off), band_from=told, conditions={**head.conditions, _KEY: f"{off:.4f}"}))


def unsure(conditions: Mapping[str, str]) -> str:
    """What is to be said of a table whose rows differed too much; nothing of others. Raises BadInputError for a damaged head."""
    try:
        off = float(conditions.get(_KEY, "0"))
    except ValueError as error:
        raise BadInputError("The latency table is damaged.", f"{_KEY} isn't a number.", "build it again") from error
    told = f"unsure: rows measured again right after it differed by {off:.0%}; the device was busy with something else"
    return told if off > LIMIT else ""
