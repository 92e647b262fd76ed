"""The two measuring loops: files against each other, and a stream of small files, each among its neighbours."""
from __future__ import annotations

import random
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from typing import Any

from .clock import Stopwatch, half_width, median

ENOUGH_CALLS = 50
ENOUGH_HALF_WIDTH = 0.02
BEAT_SECONDS = 5.0
HELD_BYTES = 1_000_000  # of the files in the ring: what the second cache of a fast core holds
ROW_SECONDS = 60.0  # after that a row makes do with five calls: a large operation on a slow device
_TURN_S = 1e-3


def interleave(
    calls: Mapping[str, Callable[[], None]], watch: Stopwatch, *, rounds: int, min_seconds: float, seed: int, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Time calls against each other, in random order anew in each round (seeded), each warmed up until its times are stable.

    In a round each makes one untimed call and then timed ones, for about a millisecond. At least ``rounds`` rounds and ``min_seconds``
    seconds, until each has 50 timed calls or knows its median to 2 % (95 %). ``tell`` is called "before" the rounds, every few seconds
    "during", and "after". Gives "rounds_ms" {name: [[ms of each call] of each round]}, "starts_s" of the rounds, and "wall_s" and
    "cpu_s" {name: seconds of all its timed calls by either clock}.
    """
    repeats = {name: max(1, min(10, int(_TURN_S / max(_warm_up(call, watch), 1e-7)))) for name, call in calls.items()}
    rounds_ms: dict[str, list[list[float]]] = {name: [] for name in calls}
    starts_s: list[float] = []
    wall_s, cpu_s = dict.fromkeys(calls, 0.0), dict.fromkeys(calls, 0.0)
    order, rng = list(calls), random.Random(seed)  # noqa: S311 (an order, not a secret)
    tell("before")
    start = told = time.perf_counter()
    while len(starts_s) < rounds or time.perf_counter() - start < min_seconds or not _enough(rounds_ms):
        starts_s.append(time.perf_counter() - start)
        rng.shuffle(order)
        for name in order:
            call = calls[name]
            call()
            wall, cpu = time.perf_counter(), watch.cpu()
            rounds_ms[name].append([watch.seconds(call) * 1e3 for _ in range(repeats[name])])
            cpu_s[name] += watch.cpu() - cpu
            wall_s[name] += time.perf_counter() - wall
        if time.perf_counter() - told > BEAT_SECONDS:
            tell("during")
            told = time.perf_counter()
    tell("after")
    return {"rounds_ms": rounds_ms, "starts_s": starts_s, "wall_s": wall_s, "cpu_s": cpu_s}


def _warm_up(call: Callable[[], None], watch: Stopwatch) -> float:
    """Call until two windows of five calls agree to 5 %, for a second at most; the seconds that a warm call takes."""
    start, before = time.perf_counter(), 0.0
    while True:
        now = median([watch.seconds(call) for _ in range(5)])
        if abs(now - before) <= 0.05 * now or time.perf_counter() - start > 1:
            return now
        before = now


def _enough(rounds_ms: Mapping[str, Sequence[Sequence[float]]]) -> bool:
    return all(
        sum(map(len, turns)) >= ENOUGH_CALLS or (len(turns) >= 6 and half_width([median(t) for t in turns]) <= ENOUGH_HALF_WIDTH)
        for turns in rounds_ms.values()
    )


class Row:
    """One file in the ring, and its calls so far in microseconds. Its first ``skip`` calls don't count."""

    def __init__(self, name: str, session: Any, skip: int) -> None:
        self.name, self.session, self._skip = name, session, skip
        self.us: list[float] = []
        self.gauges_us: list[list[float]] = []
        self.done = False
        self.turn, self._begun = 0, 0.0

    def add(self, us: float, turn: int) -> None:
        if self._skip:
            self._skip, self.turn, self._begun = self._skip - 1, turn + 1, time.perf_counter()
        elif not self.done:
            self.us.append(us)

    def knows(self, least: int, most: int, min_seconds: float) -> bool:
        spent, n = time.perf_counter() - self._begun, len(self.us)
        if n == 0 or spent < min_seconds:
            return False
        return n >= (5 if spent > ROW_SECONDS else most) or (n >= least and half_width(self.us) <= ENOUGH_HALF_WIDTH)


def ring(
    files: Iterable[tuple[str, Any]],
    watch: Stopwatch,
    *,
    least: int,
    most: int,
    window: int,
    min_seconds: float,
    gauges: Sequence[tuple[str, Any]] = (),
    near: Container[str] = (),
    turned: Callable[[], None] = lambda: None,
) -> Iterator[Row]:
    """Time files in the context of their neighbours: ``window`` of them are loaded, and a turn calls each of them once.

    So between two calls of a file the others run, and its weights come from the cache that they come from inside a small network: files
    of more than ``HELD_BYTES`` together aren't loaded at once, but for a single one that is larger. Its input is written just before,
    as by the operation before it. Files named in ``near`` make an untimed call before that: an operation without weights finds the
    memory of its output where the operations around it left it. A file leaves when it was called for ``min_seconds`` (noise that lasts
    is then seen, not taken for the file's own), and has ``least`` calls and knows its median to 2 % (95 %), or ``most`` calls; the next
    ones take its place. The first ones begin to count one after the other, so that files leave one by one all along, and a lost link
    loses little. ``gauges`` are called in every turn, as ``near`` files are and as others are (one that is ``near`` itself always so); a
    row has the times of those that were called as it was, turn by turn as its own, so that the cost of a call can be taken off as it was
    at that time, and the pace of the device is known at each call. ``turned`` is called after each turn.
    """
    waiting, loaded, step, turn = iter(files), list[Row](), -(-least // window), 0
    history: dict[tuple[str, bool], list[float]] = {(n, warm): [] for n, _ in gauges for warm in (False, True) if warm or n not in near}
    sessions = dict(gauges)

    def call(session: Any, warm: bool = False) -> float:
        if warm:
            session.invoke()
        session.feed()
        return watch.seconds(session.invoke) * 1e6

    head = None
    while True:
        if sum(not row.done for row in loaded) < window:
            head = head or next(waiting, None)
        place = len(loaded)
        for row in [row for row in loaded if row.done and head]:  # where none waits they stay as neighbours
            place = min(place, loaded.index(row))
            loaded.remove(row)
            row.session.close()
        while head and len(loaded) < window and _fits(head[1], loaded):
            loaded.insert(place, Row(*head, 2 if turn else 2 + step * len(loaded)))
            head, place = (next(waiting, None) if len(loaded) < window else None), place + 1
        if all(row.done for row in loaded):
            return
        for (name, warm), us in history.items():
            us.append(call(sessions[name], warm))
        for row in loaded:
            row.add(call(row.session, row.name in near), turn)
        turn += 1
        turned()
        for row in [r for r in loaded if not r.done and r.knows(least, most, min_seconds)]:
            row.done = True
            row.gauges_us = [history[name, row.name in near or name in near][row.turn :] for name, _ in gauges]
            yield row


def _fits(session: Any, loaded: Sequence[Row]) -> bool:
    return not loaded or session.size_bytes + sum(row.session.size_bytes for row in loaded) <= HELD_BYTES
