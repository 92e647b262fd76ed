"""Medians with their spread and their uncertainty, without assuming a distribution."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgelr.devices.harness.clock import median_ranks


@dataclass(frozen=True)
class Spread:
    """A median, the 10th and 90th percentiles, and the 95 % interval [low, high] of the median itself, over ``n`` values."""

    median: float
    p10: float
    p90: float
    low: float
    high: float
    n: int

    @property
    def half_width(self) -> float:
        """Half of the median's 95 % interval, as a share of the median."""
        return (self.high - self.low) / 2 / self.median if self.median > 0 else 0.0


def spread(values: Sequence[float]) -> Spread:
    """The spread of one or more values. The interval is that of order statistics: ranks n/2 -+ 0.98 sqrt(n)."""
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    low, high = median_ranks(len(ordered))
    p10, middle, p90 = (float(v) for v in np.percentile(ordered, [10, 50, 90]))
    return Spread(middle, p10, p90, float(ordered[low]), float(ordered[high]), len(ordered))
