"""What several visits of a row tell together, and which rows want another.

A device that is busy with something else often changes its pace for longer than a row is measured, and is calm in between: of visits that
are minutes apart three in five find it so, for five calls or more, on a shared host.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import exp, log

from edgelr.latency.operation import Operation
from edgelr.latency.pace import at_pace, calm_first, is_calm
from edgelr.latency.table import Row

MOST = 6
IN_VAIN = 2  # rounds that don't help, one after the other: the device isn't calm any more
_WORTH = 0.05  # of the rows that want a visit


def mean_row(visits: Sequence[Row], pace_us: float) -> Row:
    """One row of the visits at a pace, or of all where none was, told at that pace: the geometric mean, each visit by its calls.

    Its interval covers half of what they differ by.
    """
    used = [at_pace(visit, pace_us) for visit in calm_first(visits, pace_us)]
    if len(used) == 1:
        return used[0]
    n, low, high = sum(row.n for row in used), min(row.us for row in used), max(row.us for row in used)
    us = exp(sum(row.n * log(row.us) for row in used) / n) if low > 0 else sum(row.n * row.us for row in used) / n
    half_width = max(sum(row.n * row.half_width for row in used) / n, (high - low) / 2 / us if us > 0 else 0.0)
    return replace(used[-1], us=us, half_width=min(half_width, 10.0), n=n)


def disturbed(visits: Mapping[Operation, Sequence[Row]], pace_us: float) -> tuple[Operation, ...]:
    """The operations that weren't visited at that pace yet."""
    return tuple(operation for operation, rows in visits.items() if not any(is_calm(row, pace_us) for row in rows))


def helped(before: int, after: int) -> bool:
    """Whether visiting so many rows left enough fewer of them."""
    return after < before * (1 - _WORTH)
