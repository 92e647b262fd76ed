"""What each operation of a written file costs."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class OpTimes:
    """Microseconds of every operation of a file, by its name in the file, and of the file as a whole.

    ``other_us`` is what belongs to no operation of the file: layout changes that the runtime puts in. An operation that the runtime
    merged into another one costs 0.
    """

    runtime: str
    threads: int
    us: Mapping[str, float]
    other_us: float
    whole_us: float

    @property
    def sum_us(self) -> float:
        """All operations and the rest together: to be compared with ``whole_us``."""
        return sum(self.us.values()) + self.other_us
