"""Latency of several sessions against each other: interleaved, warm, and told with its spread."""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from statistics import median
from typing import Any

from edgelr.devices.answers import Answer, check_times
from edgelr.devices.harness.clock import Stopwatch
from edgelr.devices.harness.loops import interleave
from edgelr.devices.harness.probes import probe
from edgelr.devices.session import Session
from edgelr.devices.statistics import Spread, spread
from edgelr.devices.trust import Probe, Series, conditions, drift, probe_of, verdict
from edgelr.errors import MeasurementError, UsageError
from edgelr.vocabulary import Timing


@dataclass(frozen=True)
class Measurement(Mapping[str, Timing]):
    """Timings by session name, and what they rest on.

    ``rounds_ms``: each session's median in each round, in the order of the rounds: entry i of all sessions was taken side by side.
    ``drift``: the median of the last third of the rounds over that of the first, minus 1. ``drifting``: the sessions for which this
    is beyond 5 % (or 2 % a minute, where they were measured for longer) and beyond the noise. ``clock`` is "thread CPU time" (one
    thread) or "wall time". ``flags``: all that speaks against these times, a sentence each. ``conditions``: governor, clock,
    temperature, throttle bits, load and processors, where they can be read.
    """

    timings: Mapping[str, Timing]
    rounds_ms: Mapping[str, tuple[float, ...]]
    drift: Mapping[str, float]
    drifting: tuple[str, ...]
    clock: str
    flags: tuple[str, ...] = ()
    conditions: Mapping[str, str] = field(default_factory=dict)

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
    knows its median to 2 % (95 %). Raises ``MeasurementError`` if the clock can't be right, or if ``strict`` and anything speaks
    against the times: sessions that drift or have two speeds, a clock that fell, heat, throttling, a core that was shared.
    """
    if not sessions or rounds < 1:
        raise UsageError("There is nothing to measure.", f"{len(sessions)} sessions, {rounds} rounds.")
    watch, probes = Stopwatch(max(session.threads for session in sessions.values())), list[Probe]()

    def tell(when: str) -> None:
        probes.append(probe_of(Answer("probe", probe(when))))

    calls = {name: session.invoke for name, session in sessions.items()}
    taken = interleave(calls, watch, rounds=rounds, min_seconds=min_seconds, seed=seed, tell=tell)
    empty = {name: Timing(on, session.runtime, session.threads, 0.0, 0.0, 0.0, 0) for name, session in sessions.items()}
    return judged(empty, series_of(taken), probes, clock=watch.name, strict=strict)


def series_of(taken: Mapping[str, Any]) -> dict[str, Series]:
    """From what ``interleave`` gives. Raises ``MeasurementError`` for times that are negative or no numbers."""
    starts_s = check_times(taken["starts_s"], "the rounds")
    return {
        name: Series(tuple(check_times(turn, name) for turn in turns), starts_s, taken["wall_s"][name], taken["cpu_s"][name])
        for name, turns in taken["rounds_ms"].items()
    }


def judged(
    empty: Mapping[str, Timing],
    series: Mapping[str, Series],
    probes: Sequence[Probe],
    *,
    clock: str,
    strict: bool,
    told: Mapping[str, str] | None = None,
) -> Measurement:
    """A measurement from the times of each file, with what speaks against them. ``empty``: for each, where and in what it ran.

    Raises ``MeasurementError`` for times of nothing, and for any flag if ``strict``.
    """
    spreads = {name: spread(list(chain.from_iterable(one.rounds_ms))) for name, one in series.items()}
    for name, s in spreads.items():
        if s.median <= 0:
            raise MeasurementError(f"The times of '{name}' can't be trusted.", "its clock doesn't move while it runs.")
    flags = verdict(probes, series)
    if strict and flags:
        raise MeasurementError(
            "The measurement can't be trusted.", "; ".join(flags) + ".", "let it cool down, close other programs, and measure again."
        )
    timings = {name: Timing(e.on, e.runtime, e.threads, (s := spreads[name]).median, s.p10, s.p90, s.n) for name, e in empty.items()}
    changes = {name: drift(one) for name, one in series.items()}
    return Measurement(
        timings,
        {name: tuple(median(turn) for turn in one.rounds_ms) for name, one in series.items()},
        {name: change for name, (change, _) in changes.items()},
        tuple(name for name, (_, beyond) in changes.items() if beyond),
        clock,
        flags,
        {**conditions(probes), **(told or {})},
    )
