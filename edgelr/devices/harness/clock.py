"""The stopwatch, which clock it reads and what reading costs; and medians with their uncertainty."""
from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence


class Stopwatch:
    """Times single calls in seconds.

    On one thread it reads the thread's CPU time: what wall time is on an idle core, but not stretched when other processes take the
    core away. With more threads only the wall clock sees all of them. Reading the clock costs up to a microsecond (0.8 us measured for
    CPU time on x86-64 Linux), so that cost is measured once and taken off every reading. ``cpu`` reads the CPU time of all threads
    that work, whichever clock is the stopwatch's.
    """

    def __init__(self, threads: int) -> None:
        self.name = "thread CPU time" if threads == 1 else "wall time"
        self.cpu = time.thread_time if threads == 1 else time.process_time
        self._now = time.thread_time_ns if threads == 1 else time.perf_counter_ns
        self._cost_s = 0.0
        self._cost_s = median([self.seconds(_nothing) for _ in range(201)])

    def seconds(self, call: Callable[[], None]) -> float:
        """Seconds that one call takes; below 0 only where the clock went back."""
        start = self._now()
        call()
        took = (self._now() - start) * 1e-9
        return took if took < 0 else max(took - self._cost_s, 0.0)


def _nothing() -> None:
    return None


def median(values: Sequence[float]) -> float:
    ordered, n = sorted(values), len(values)
    return (ordered[(n - 1) // 2] + ordered[n // 2]) / 2


def median_ranks(n: int) -> tuple[int, int]:
    """Places in n ordered values between which the true median lies, 95 times in 100: ranks n/2 -+ 0.98 sqrt(n)."""
    return max(math.floor(n / 2 - 0.98 * math.sqrt(n)) - 1, 0), min(math.ceil(n / 2 + 0.98 * math.sqrt(n)), n - 1)


def half_width(values: Sequence[float]) -> float:
    """Half of the median's 95 % interval, as a share of the median."""
    ordered, (low, high), middle = sorted(values), median_ranks(len(values)), median(values)
    return (ordered[high] - ordered[low]) / 2 / middle if middle > 0 else 0.0
