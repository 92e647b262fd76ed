"""Building a latency table: coarse first, denser where rows don't predict each other, kept after every few rows."""
from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from math import ceil

import numpy as np

from edgelr.errors import BadInputError
from edgelr.latency.families import Family, family_of, place_of
from edgelr.latency.operation import Operation
from edgelr.latency.operation_bytes import held_bytes
from edgelr.latency.pace import pace_of, told_pace
from edgelr.latency.pricer import Pricer
from edgelr.latency.row_source import RowSource
from edgelr.latency.table import Head, Row, Table
from edgelr.latency.visits import IN_VAIN, MOST, disturbed, helped, mean_row
from edgelr.latency.wanted import between

TRIAL = 24  # rows whose time tells that of the rest: from the smallest to the largest, since large ones are measured by themselves
PORTION = 60  # rows asked for at once: each portion starts a process on the device
KEPT_EVERY_S = 10.0
TOLERANCE = 0.05
_ROUNDS = 3
_SHARE = 0.1  # of the rows there are, at most so many more in each round of refining


@dataclass(frozen=True)
class Built:
    """What came of building. ``missing``: wanted operations without a row; ``added``: rows where the others didn't predict each other;
    ``visits``: how often those were measured that found the device busy; ``disturbed``: how many found it so each time.
    """

    table: Table
    measured: int
    added: int
    missing: tuple[Operation, ...]
    seconds: float
    visits: int = 1
    disturbed: int = 0


def build(
    head: Head,
    wanted: Iterable[Operation],
    source: RowSource,
    *,
    known: Table | None = None,
    minutes: float = 0.0,
    tolerance: float = TOLERANCE,
    save: Callable[[Table], None] = lambda table: None,
    tell: Callable[[str], None] = lambda text: None,
    clock: Callable[[], float] = time.monotonic,
) -> Built:
    """A table of the wanted operations, and of some between them where a row left out is predicted worse than ``tolerance``.

    Rows are told at the pace that the head has. Those that were measured while the device was busy with something else are visited more
    often (``latency/visits.py``).

    Only operations that ``known`` has no row of are measured. Says the minutes it will take after a short trial. Stops after ``minutes``
    (0: when all is done). ``save`` is called every few seconds and at the end, also where the source fails or the user interrupts: what
    was measured isn't lost. Raises BadInputError if ``known`` is of another device or runtime, and what the source raises.
    """
    if known is not None:
        _check_same(known.head, head)
        conditions = {**head.conditions, **told_pace(pace_of(known.head.conditions))}
        head = replace(head, made=min(head.made, known.head.made), call_us=known.head.call_us, conditions=conditions)
    start = clock()
    every = tuple(dict.fromkeys(wanted))
    state = _State(head, known, source, save, clock, start + minutes * 60 if minutes > 0 else None)
    rows = state.visits
    missing = _trial_first(coarse_first([o for o in every if o not in rows]))
    if len(missing) < len(every):
        tell(f"{len(every) - len(missing)} of {len(every)} rows are known already")
    added, visited = 0, 1
    try:
        state.measure(missing[:1])  # what is done once only, such as putting the harness there, isn't counted
        begun = clock()
        state.measure(missing[1:TRIAL])
        left = missing[TRIAL:]
        if left:
            tell(_estimate(len(left), state.first - begun, (clock() - state.first) / max(TRIAL - 2, 1), minutes))
        state.measure(left)
        for _ in range(_ROUNDS):
            more = () if state.over else refined(state.table(), tolerance, ceil(_SHARE * len(rows)))
            more = tuple(o for o in more if o not in rows)
            if not more:
                break
            tell(f"{len(more)} more rows where the others predict each other worse than {tolerance:.0%}")
            added += state.measure(more)
        visited = _calmer(state, tell)
    finally:
        if rows:
            save(state.table())
    missing = [o for o in every if o not in rows]
    return Built(state.table(), state.measured, added, tuple(missing), clock() - start, visited, len(state.disturbed))


def _calmer(state: _State, tell: Callable[[str], None]) -> int:
    """Visit the rows again that found the device busy, as long as it helps; how often they were visited in all."""
    visited, in_vain = 1, 0
    while (left := state.disturbed) and visited < MOST and in_vain < IN_VAIN and not state.over:
        minutes = len(left) * state.seconds_a_row / 60
        tell(f"{len(left)} rows found the device busy with something else: visiting them again, {minutes:.1f} minutes")
        state.measure(left)
        visited, in_vain = visited + 1, 0 if helped(len(left), len(state.disturbed)) else in_vain + 1
    return visited


class _State:
    """The visits of each row as they come, kept every few seconds."""

    def __init__(
        self,
        head: Head,
        known: Table | None,
        source: RowSource,
        save: Callable[[Table], None],
        clock: Callable[[], float],
        end: float | None,
    ) -> None:
        self.visits: dict[Operation, list[Row]] = {o: [row] for o, row in known.rows.items()} if known else {}
        self._edited = known is not None and known.edited
        self._head, self._source, self._save, self._clock, self._end = head, source, save, clock, end
        self._kept, self._begun, self._given, self._pace_us = clock(), clock(), 0, pace_of(head.conditions)
        self.measured, self.first = 0, clock()

    @property
    def over(self) -> bool:
        return self._end is not None and self._clock() >= self._end

    @property
    def disturbed(self) -> tuple[Operation, ...]:
        return disturbed(self.visits, self._pace_us)

    @property
    def seconds_a_row(self) -> float:
        return (self._clock() - self._begun) / max(self._given, 1)

    def table(self) -> Table:
        call_us = self._source.call_us or self._head.call_us
        rows = {operation: mean_row(rows, self._pace_us) for operation, rows in self.visits.items()}
        return Table(replace(self._head, call_us=call_us), rows, self._edited)

    def measure(self, operations: Sequence[Operation]) -> int:
        """A visit to each of these, until the time is over; how many rows came that there weren't."""
        before = self.measured
        for begin in range(0, len(operations), PORTION):
            first = True
            for row in () if self.over else self._source.rows(operations[begin : begin + PORTION]):
                self.measured += row.operation not in self.visits
                self.visits.setdefault(row.operation, []).append(row)
                self._given += 1
                if first:
                    self.first, first = self._clock(), False
                if self._clock() - self._kept > KEPT_EVERY_S:
                    self._save(self.table())
                    self._kept = self._clock()
                if self.over:
                    return self.measured - before
        return self.measured - before


def coarse_first(operations: Sequence[Operation]) -> list[Operation]:
    """In an order in which any beginning covers every family: in turns, from each family the one furthest from those before it."""
    families: dict[Family, list[Operation]] = defaultdict(list)
    for operation in operations:
        families[family_of(operation)].append(operation)
    turns = [_spread_out(members) for _, members in sorted(families.items())]
    return [members[i] for i in range(max(map(len, turns), default=0)) for members in turns if i < len(members)]


def _trial_first(operations: list[Operation]) -> list[Operation]:
    """``TRIAL`` of them, evenly over their sizes in bytes, and then the rest as they were."""
    ordered = sorted(operations, key=held_bytes)
    trial = dict.fromkeys(ordered[i * (len(ordered) - 1) // (TRIAL - 1)] for i in range(TRIAL) if ordered)
    return [*trial, *(o for o in operations if o not in trial)]


def _spread_out(members: list[Operation]) -> list[Operation]:
    logs = np.log([place_of(o) for o in members])
    order = [int(np.argmin(np.abs(logs - logs.mean(axis=0)).sum(axis=1)))]
    distance = np.abs(logs - logs[order[0]]).max(axis=1)
    while len(order) < len(members):
        distance[order] = -1.0
        order.append(int(np.argmax(distance)))
        distance = np.minimum(distance, np.abs(logs - logs[order[-1]]).max(axis=1))
    return [members[i] for i in order]


def refined(table: Table, tolerance: float, most: int) -> tuple[Operation, ...]:
    """Operations that would tell most: half way from each row that the others predict worst to its nearest neighbours."""
    pricer = Pricer(table)
    found: list[tuple[float, Operation]] = []
    for family in pricer.families:
        step = table.head.steps.get(family.numbers, 1)
        members = [r.operation for r in table.rows.values() if family_of(r.operation) == family]
        errors = pricer.left_out(family)
        logs = {o: np.log(place_of(o)) for o in members}
        for operation in members:
            error = errors.get(place_of(operation), 0.0)
            if error <= tolerance:
                continue
            others = sorted((o for o in members if o != operation), key=lambda o: float(np.abs(logs[o] - logs[operation]).max()))
            for other in others[:2]:
                made = between(operation, other, step)
                if made is not None and made not in table.rows:
                    found.append((error, made))
    ordered = sorted(found, key=lambda pair: (-pair[0], pair[1]))
    return tuple(dict.fromkeys(o for _, o in ordered))[:most]


def _check_same(old: Head, new: Head) -> None:
    for name in ("target", "runtime", "version", "core", "threads", "how"):
        if getattr(old, name) != getattr(new, name):
            raise BadInputError(
                "The latency table that is there can't be continued.",
                f"its {name} is {getattr(old, name)}, and this one's is {getattr(new, name)}: rows of both don't belong into one table.",
                "write to another file (-o), or remove the old one",
            )


def _estimate(rows: int, start_s: float, seconds_a_row: float, minutes: float) -> str:
    """From a trial: the seconds until a portion's first row, and between rows."""
    each = seconds_a_row + start_s / PORTION
    whole = rows * each / 60
    most = max(whole, 0.1) * (1 + _SHARE) ** _ROUNDS
    told = f"{rows} more rows take about {max(whole, 0.1):.1f} minutes, and those between them up to {most - max(whole, 0.1):.1f}"
    if minutes and whole > minutes:
        fit = min(int(minutes * 60 / each), rows)
        told += f"; in {minutes:g} minutes about {fit} of them, the coarse ones first. Run it again to go on"
    return told
