"""The stopwatch: which clock, and what reading it costs."""
from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median


class Stopwatch:
    """Times single calls in seconds.

    On one thread it reads the thread's CPU time: what wall time is on an idle core, but not stretched when other processes take the
    core away. With more threads only the wall clock sees all of them. Reading the clock costs up to a microsecond (0.8 us measured for
    CPU time on x86-64 Linux), so that cost is measured once and taken off every reading.
    """

    def __init__(self, threads: int) -> None:
        self.name = "thread CPU time" if threads == 1 else "wall time"
        self._now = time.thread_time_ns if threads == 1 else time.perf_counter_ns
        self._cost_s = 0.0
        self._cost_s = median(self.seconds(_nothing) for _ in range(201))

    def seconds(self, call: Callable[[], None]) -> float:
        """Seconds that one call takes."""
        start = self._now()
        call()
        return max((self._now() - start) * 1e-9 - self._cost_s, 0.0)


def _nothing() -> None:
    return None
