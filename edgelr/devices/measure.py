"""Latency of several sessions against each other: interleaved, warm, and told with its spread."""
from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import median

import numpy as np

from edgelr.devices.clock import Stopwatch
from edgelr.devices.session import Session
from edgelr.devices.statistics import Spread, spread
from edgelr.errors import MeasurementError, UsageError
from edgelr.vocabulary import Timing

# Sessions of one file in one process differed by 0.8-5.2 % on a shared x86-64 machine: less than that is no drift.
DRIFT_LIMIT = 0.05
ENOUGH_CALLS = 50
ENOUGH_HALF_WIDTH = 0.02
_TURN_S = 1e-3


@dataclass(frozen=True)
class Measurement(Mapping[str, Timing]):
    """Timings by session name, and what they rest on.

    ``rounds_ms``: each session's median in each round, in the order of the rounds: entry i of all sessions was taken side by side.
    ``drift``: the median of the last third of the rounds over that of the first, minus 1. ``drifting``: the sessions for which this
    is beyond 5 % and beyond the noise. ``clock`` is "thread CPU time" (one thread) or "wall time".
    """

    timings: Mapping[str, Timing]
    rounds_ms: Mapping[str, tuple[float, ...]]
    drift: Mapping[str, float]
    drifting: tuple[str, ...]
    clock: str

    def __getitem__(self, name: str) -> Timing:
        return self.timings[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.timings)

    def __len__(self) -> int:
        return len(self.timings)

    def ratio(self, a: str, b: str) -> Spread:
        """How long ``a`` takes over how long ``b`` takes, paired round by round: what decisions should rest on.

        Noise that lasts longer than a round hits both and cancels. ``high < 1`` means that ``a`` is faster beyond the noise.
        """
        return spread([x / y for x, y in zip(self.rounds_ms[a], self.rounds_ms[b], strict=True)])


def measure(
    sessions: Mapping[str, Session], *, on: str, rounds: int = 30, min_seconds: float = 0.5, seed: int = 0, strict: bool = False
) -> Measurement:
    """Time ``invoke`` of all sessions in one process, in random order anew in each round (seeded).

    Each session is warmed up until its times are stable. In a round it makes one untimed call and then timed ones, for about a
    millisecond. It takes at least ``rounds`` rounds and ``min_seconds`` seconds, and goes on until each session has 50 timed calls or
    knows its median to 2 % (95 %). Raises ``MeasurementError`` if ``strict`` and a session drifts.
    """
    if not sessions or rounds < 1:
        raise UsageError("There is nothing to measure.", f"{len(sessions)} sessions, {rounds} rounds.")
    threads = max(session.threads for session in sessions.values())
    watch = Stopwatch(threads)
    calls = {name: max(1, min(10, int(_TURN_S / max(_warm_up(session, watch), 1e-7)))) for name, session in sessions.items()}
    samples: dict[str, list[float]] = {name: [] for name in sessions}
    per_round: dict[str, list[float]] = {name: [] for name in sessions}
    order, rng, start = list(sessions), np.random.default_rng(seed), time.perf_counter()
    while len(per_round[order[0]]) < rounds or time.perf_counter() - start < min_seconds or not _enough(samples, per_round):
        rng.shuffle(order)
        for name in order:
            invoke = sessions[name].invoke
            invoke()
            turn = [watch.seconds(invoke) * 1e3 for _ in range(calls[name])]
            samples[name] += turn
            per_round[name].append(median(turn))
    changes = {name: _drift(values) for name, values in per_round.items()}
    drifting = tuple(name for name, (_, beyond) in changes.items() if beyond)
    if strict and drifting:
        worst = max(drifting, key=lambda name: abs(changes[name][0]))
        raise MeasurementError(
            "The measurement can't be trusted: latencies drift.",
            f"'{worst}' changed by {changes[worst][0]:+.0%} from the first third of the measurement to the last.",
            "let the machine cool down, close other programs, and measure again.",
        )
    timings = {name: _timing(sessions[name], values, on) for name, values in samples.items()}
    rounds_ms = {name: tuple(values) for name, values in per_round.items()}
    return Measurement(timings, rounds_ms, {name: change for name, (change, _) in changes.items()}, drifting, watch.name)


def _timing(session: Session, values: list[float], on: str) -> Timing:
    s = spread(values)
    return Timing(on, session.runtime, session.threads, s.median, s.p10, s.p90, s.n)


def _warm_up(session: Session, watch: Stopwatch) -> float:
    """Call until two windows of five calls agree to 5 %, for a second at most; the seconds that a warm call takes."""
    start, before = time.perf_counter(), 0.0
    while True:
        now = median(watch.seconds(session.invoke) for _ in range(5))
        if abs(now - before) <= 0.05 * now or time.perf_counter() - start > 1:
            return now
        before = now


def _enough(samples: Mapping[str, list[float]], per_round: Mapping[str, list[float]]) -> bool:
    return all(
        len(samples[name]) >= ENOUGH_CALLS or (len(values) >= 6 and spread(values).half_width <= ENOUGH_HALF_WIDTH)
        for name, values in per_round.items()
    )


def _drift(values: list[float]) -> tuple[float, bool]:
    """The change from the first third to the last, and whether it is beyond the limit and beyond what noise explains."""
    third = len(values) // 3
    if third < 3:
        return 0.0, False
    first, last = spread(values[:third]), spread(values[-third:])
    if first.median == 0:
        return 0.0, False
    change = last.median / first.median - 1
    return change, abs(change) > DRIFT_LIMIT and (last.low > first.high or last.high < first.low)
