"""Rows of a device that changes its pace are told at one pace, and visited as often as it takes."""
from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from statistics import median

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from latency_sample import HEAD, Board, grid, table, us

from edgelr.errors import BadInputError
from edgelr.latency.building import build
from edgelr.latency.operation import Operation
from edgelr.latency.pace import Paced, at_pace, pace_of, told_pace
from edgelr.latency.reference_nets import pace_file
from edgelr.latency.table import Row, Table
from edgelr.latency.verifying import verify
from edgelr.latency.visits import MOST, STEADY, both, visits_needed

PACE_US = 100.0
AT = replace(HEAD, conditions=told_pace(PACE_US))
TIMES = st.floats(0.1, 1e6)


class Busy(Board):
    """A board that takes up to twice as long in stretches of forty rows; what it tells of its pace is right but for ``noise``."""

    def __init__(self, noise: float = 0.0, told: bool = True) -> None:
        super().__init__()
        self._random, self._noise, self._told, self._slow = np.random.default_rng(0), noise, told, 1.0

    def rows(self, operations: Iterable[Operation]) -> Iterator[Row]:
        for row in super().rows(operations):
            if len(self.asked) % 40 == 1:
                self._slow = float(self._random.uniform(1, 2))
            noisy = float(np.exp(self._random.normal(0, self._noise)))
            yield replace(row, us=row.us * self._slow * noisy, pace_us=PACE_US * self._slow if self._told else 0.0)


def errors(built: Table) -> list[float]:
    return [abs(row.us / us(o) - 1) for o, row in built.rows.items()]


def test_a_busy_devices_rows_are_told_at_one_pace() -> None:
    built = build(AT, grid(), Busy(), tolerance=9)
    assert max(errors(built.table)) < 1e-9 and built.visits == 1
    assert pace_of(built.table.head.conditions) == PACE_US
    unknown = build(AT, grid(), Busy(told=False), tolerance=9, visits=1)
    assert median(errors(unknown.table)) > 0.1


def test_rows_that_differ_are_visited_again_and_come_closer() -> None:
    once, more = (build(AT, grid(), Busy(0.1), tolerance=9, visits=n) for n in (1, MOST))
    assert (once.visits, more.visits) == (1, MOST)
    assert median(errors(more.table)) < 0.75 * median(errors(once.table))
    assert median(r.half_width for r in more.table.rows.values()) > 2 * median(r.half_width for r in once.table.rows.values())
    assert {r.n for r in more.table.rows.values()} == {50 * MOST}


def test_a_table_that_is_continued_keeps_its_pace() -> None:
    known = table(grid()[:10])
    known = Table(replace(known.head, conditions=told_pace(50.0)), {o: replace(r, us=r.us / 2) for o, r in known.rows.items()})
    built = build(AT, grid(), Busy(), known=known, tolerance=9)
    assert pace_of(built.table.head.conditions) == 50.0
    assert all(row.us == pytest.approx(us(o) / 2) for o, row in built.table.rows.items())


def test_a_table_of_another_pace_does_not_hold() -> None:
    """Rows at the same pace are equal; but what takes 10 ms by the table takes 13 now."""
    exact = Table(AT, {o: Row(o, us(o), 0.01, 50, PACE_US) for o in grid()})

    class Slow(Board):
        def rows(self, operations: Iterable[Operation]) -> Iterator[Row]:
            return (replace(row, us=row.us * 1.3, pace_us=PACE_US * 1.3) for row in super().rows(operations))

    found = verify(exact, Slow(), count=10)
    assert found.off < 1e-9 and found.pace == pytest.approx(1.3) and not found.holds
    assert verify(Table(HEAD, exact.rows), Board(), count=10).pace == 1.0


@given(TIMES, TIMES, TIMES)
def test_a_row_at_a_pace(row_us: float, was: float, now: float) -> None:
    row = Row(grid()[0], row_us, 0.01, 50, was)
    there = at_pace(row, now)
    assert there.us == pytest.approx(row_us * now / was) == pytest.approx(Paced(row_us, was).at(now))
    assert at_pace(there, was).us == pytest.approx(row_us)
    assert at_pace(row, 0.0) is row and at_pace(replace(row, pace_us=0.0), now).us == row_us


@given(TIMES, TIMES, st.integers(1, 100), st.integers(1, 100))
def test_the_mean_of_visits_lies_between_them_and_says_how_they_differ(a: float, b: float, n: int, m: int) -> None:
    first, second = Row(grid()[0], a, 0.01, n), Row(grid()[0], b, 0.02, m)
    mean = both(first, second)
    assert min(a, b) * (1 - 1e-9) <= mean.us <= max(a, b) * (1 + 1e-9) and mean.n == n + m
    assert mean.half_width >= min(abs(a - b) / 2 / mean.us, 10.0) * (1 - 1e-9)
    again = both(second, first)
    assert again.us == pytest.approx(mean.us)


def test_how_many_visits_are_needed() -> None:
    assert [visits_needed(off) for off in (0.0, STEADY, STEADY * 1.2, STEADY * 1.6, 0.5)] == [1, 1, 2, MOST, MOST]


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_the_network_that_tells_the_pace(format: str) -> None:
    data = pace_file(format)  # type: ignore[arg-type]
    assert data == pace_file(format) and 5_000 < len(data) < 200_000  # type: ignore[arg-type]


def test_a_head_without_a_pace() -> None:
    assert pace_of({}) == 0.0 and told_pace(0.0) == {}
    with pytest.raises(BadInputError):
        pace_of({"pace_us": "fast"})
