"""How often rows are visited, and what several visits tell together.

A device that is busy with something else changes its pace for longer than a row is measured. Visits that are minutes apart don't share
that, and their mean is closer than any of them.
"""
from __future__ import annotations

from dataclasses import replace
from math import ceil, exp, log

from edgelr.latency.table import Row

STEADY = 0.03  # the error of a row that is aimed at
MOST = 3


def visits_needed(off: float) -> int:
    """From the median difference between two visits, as a share: so many that their mean is steady, ``MOST`` at most.

    The standard deviation of a visit is close to that median (normal errors: 0.95 times it is the median of differences' sizes), and that
    of a mean of n visits is so much over the root of n.
    """
    return min(max(ceil((off / STEADY) ** 2 - 1e-9), 1), MOST)


def both(known: Row, new: Row) -> Row:
    """One row of all visits' calls: the geometric mean, each visit by its calls. Its interval covers what the visits differ by."""
    n = known.n + new.n
    if min(known.us, new.us) <= 0:
        us = (known.us * known.n + new.us * new.n) / n
    else:
        us = exp((log(known.us) * known.n + log(new.us) * new.n) / n)
    apart = abs(known.us - new.us) / 2 / us if us > 0 else 0.0
    half_width = min(max((known.half_width * known.n + new.half_width * new.n) / n, apart), 10.0)
    return replace(new, us=us, half_width=half_width, n=n)
