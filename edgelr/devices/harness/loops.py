"""The two measuring loops: files against each other, and a stream of small files each among its neighbours."""
from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from .clock import Stopwatch, half_width, median

ENOUGH_CALLS = 50
ENOUGH_HALF_WIDTH = 0.02
BEAT_SECONDS = 5.0
ROW_SECONDS = 60.0  # a row on a slow device makes do with five calls after that
_TURN_S = 1e-3


def interleave(
    calls: Mapping[str, Callable[[], None]], watch: Stopwatch, *, rounds: int, min_seconds: float, seed: int, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Time calls against each other, in random order anew in each round (seeded), each warmed up until its times are stable.

    In a round each makes one untimed call and then timed ones, for about a millisecond. At least ``rounds`` rounds and ``min_seconds``
    seconds, until each has 50 timed calls or knows its median to 2 % (95 %). ``tell`` is called "before" the rounds, every few seconds
    "during", and "after". Gives "rounds_ms" {name: [[ms of each call] of each round]}, "starts_s" of the rounds, and "wall_s" and
    "cpu_s" {name: seconds of all its timed calls} by both clocks.
    """
    repeats = {name: max(1, min(10, int(_TURN_S / max(_warm_up(call, watch), 1e-7)))) for name, call in calls.items()}
    taken: dict[str, list[list[float]]] = {name: [] for name in calls}
    wall_s, cpu_s, starts_s = dict.fromkeys(calls, 0.0), dict.fromkeys(calls, 0.0), []
    order, rng = list(calls), random.Random(seed)  # noqa: S311 (an order, not a secret)
    tell("before")
    start = told = time.perf_counter()
    while len(starts_s) < rounds or time.perf_counter() - start < min_seconds or not _enough(taken):
        starts_s.append(time.perf_counter() - start)
        rng.shuffle(order)
        for name in order:
            call = calls[name]
            call()
            wall, cpu = time.perf_counter(), watch.cpu()
            taken[name].append([watch.seconds(call) * 1e3 for _ in range(repeats[name])])
            cpu_s[name] += watch.cpu() - cpu
            wall_s[name] += time.perf_counter() - wall
        if time.perf_counter() - told > BEAT_SECONDS:
            tell("during")
            told = time.perf_counter()
    tell("after")
    return {"rounds_ms": taken, "starts_s": starts_s, "wall_s": wall_s, "cpu_s": cpu_s}


def _warm_up(call: Callable[[], None], watch: Stopwatch) -> float:
    """Call until two windows of five calls agree to 5 %, for a second at most; the seconds that a warm call takes."""
    start, before = time.perf_counter(), 0.0
    while True:
        now = median([watch.seconds(call) for _ in range(5)])
        if abs(now - before) <= 0.05 * now or time.perf_counter() - start > 1:
            return now
        before = now


def _enough(taken: Mapping[str, Sequence[Sequence[float]]]) -> bool:
    return all(
        sum(map(len, turns)) >= ENOUGH_CALLS or (len(turns) >= 6 and half_width([median(t) for t in turns]) <= ENOUGH_HALF_WIDTH)
        for turns in taken.values()
    )


class Row:
    """One file in the ring: its calls so far, in microseconds. The first ``skip`` calls don't count."""

    def __init__(self, name: str, session: Any, skip: int) -> None:
        self.name, self.session, self.skip = name, session, skip
        self.us: list[float] = []
        self.begun, self.done = time.perf_counter(), False

    def finished(self, least: int, most: int) -> bool:
        slow = time.perf_counter() - self.begun > ROW_SECONDS
        return len(self.us) >= most or (len(self.us) >= (5 if slow else least) and (slow or half_width(self.us) <= ENOUGH_HALF_WIDTH))


def ring(
    files: Iterable[tuple[str, Any]], watch: Stopwatch, *, least: int, most: int, window: int, evict_bytes: int, turned: Callable[[], None]
) -> Iterator[Row]:
    """Time files in the context of their neighbours: ``window`` of them are loaded, and a turn calls each of them once.

    So between two calls of a file the others run, and its weights come from the cache that they come from inside a network; its input
    is written just before, as by the operation before it. A file leaves when it has ``least`` calls and knows its median to 2 %, or
    ``most``; the next one takes its place. The first ones leave one by one: they begin to count one after the other.
    """
    import numpy as np

    scratch = np.zeros(max(evict_bytes, 1), np.uint8)
    waiting, loaded, step = iter(files), [], -(-least // window)
    for name, session in waiting:
        loaded.append(Row(name, session, 2 + step * len(loaded)))
        if len(loaded) == window:
            break
    while not all(row.done for row in loaded):
        for row in loaded:
            if evict_bytes:
                scratch += 1
            row.session.feed()
            us = watch.seconds(row.session.invoke) * 1e6
            if row.skip:
                row.skip -= 1
            elif not row.done:
                row.us.append(us)
        turned()
        for row in [r for r in loaded if not r.done and r.finished(least, most)]:
            row.done = True
            yield row
        for old in [r for r in loaded if r.done]:
            after = next(waiting, None)
            if after is None:
                break
            loaded.remove(old)
            old.session.close()
            loaded.append(Row(after[0], after[1], 2))
