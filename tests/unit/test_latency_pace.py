"""A device that is busy with something else: what is measured when it is calm counts, and all is told at one pace."""
from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from statistics import median

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from latency_sample import HEAD, Board, grid, table, us

from edgelr.errors import BadInputError
from edgelr.latency.building import build
from edgelr.latency.operation import Operation
from edgelr.latency.pace import Paced, at_pace, pace_of, told_pace, undisturbed, whole_us
from edgelr.latency.reference_nets import pace_file
from edgelr.latency.table import Row, Table
from edgelr.latency.verifying import verify
from edgelr.latency.visits import IN_VAIN, MOST, mean_row
from edgelr.vocabulary import Format

PACE_US = 100.0
AT = replace(HEAD, conditions=told_pace(PACE_US))
TIMES = st.floats(0.1, 1e6)


class Busy(Board):
    """A board that is busy for stretches of seven rows, two of three. Then it takes up to twice as long, and of that its pace tells a
    half: kernels slow down differently.
    """

    def __init__(self, told: bool = True, calm: float = 1 / 3) -> None:
        super().__init__()
        self._random, self._told, self._share, self._slow = np.random.default_rng(0), told, calm, 1.0

    def rows(self, operations: Iterable[Operation]) -> Iterator[Row]:
        for row in super().rows(operations):
            if len(self.asked) % 7 == 1:
                self._slow = 1.0 if self._random.uniform() < self._share else float(self._random.uniform(1.3, 2))
            yield replace(row, us=row.us * self._slow, pace_us=PACE_US * self._slow**0.5 if self._told else 0.0)


def errors(built: Table) -> list[float]:
    return [abs(row.us / us(o) - 1) for o, row in built.rows.items()]


def test_rows_are_visited_until_the_device_is_calm() -> None:
    wanted = [*grid(), *grid(1), *grid(5)]
    board = Busy()
    built = build(AT, wanted, board, tolerance=9)
    assert 1 < built.visits <= MOST and built.measured == len(wanted) == len(built.table.rows)
    assert len(board.asked) > 1.5 * len(wanted) and built.disturbed < 0.2 * len(wanted)  # two of three were, the first time
    assert sum(e < 1e-9 for e in errors(built.table)) == len(wanted) - built.disturbed
    assert pace_of(built.table.head.conditions) == PACE_US


def test_only_busy_rows_are_visited_again() -> None:
    board = Busy(calm=1.0)
    built = build(AT, grid(), board, tolerance=9)
    assert built.visits == 1 and built.disturbed == 0 and len(board.asked) == len(grid())
    board = Busy(told=False)  # nothing speaks against its rows
    built = build(AT, grid(), board, tolerance=9)
    assert built.visits == 1 and len(board.asked) == len(grid())


def test_a_device_that_is_never_calm_is_not_visited_forever() -> None:
    board = Busy(calm=0.0)
    built = build(AT, grid(), board, tolerance=9)
    assert built.visits == 1 + IN_VAIN < MOST and built.disturbed == len(grid()) == len(built.table.rows)
    assert median(errors(built.table)) < 0.75 * median(errors(build(AT, grid(), Busy(told=False, calm=0.0), tolerance=9).table))


def test_a_lost_link_during_later_visits_loses_no_row() -> None:
    kept: list[Table] = []
    board = Busy()
    board.lasts = len(grid()) + 5
    with pytest.raises(ConnectionError):
        build(AT, grid(), board, tolerance=9, save=kept.append)
    assert set(kept[-1].rows) == set(grid())


def test_a_table_that_is_continued_keeps_its_pace() -> None:
    known = table(grid()[:10])
    known = Table(replace(known.head, conditions=told_pace(50.0)), {o: replace(r, us=r.us / 2) for o, r in known.rows.items()})
    built = build(AT, grid(), Busy(calm=1.0), known=known, tolerance=9)
    assert pace_of(built.table.head.conditions) == 50.0
    assert all(row.us == pytest.approx(us(o) / 2) for o, row in built.table.rows.items())


@pytest.mark.parametrize(("slower", "holds"), [(1.0, True), (1.3, True), (2.0, False)])
def test_a_device_of_another_pace(slower: float, holds: bool) -> None:
    """Rows at the same pace are equal. But on half the clock what takes 10 ms by the table takes 20."""
    exact = Table(AT, {o: Row(o, us(o), 0.01, 50) for o in grid()})

    class Slow(Board):
        def rows(self, operations: Iterable[Operation]) -> Iterator[Row]:
            return (replace(row, us=row.us * slower, pace_us=PACE_US * slower) for row in super().rows(operations))

    found = verify(exact, Slow(), count=10)
    assert found.off < 1e-9 and found.pace == pytest.approx(slower) and found.holds == holds
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
    first, second = Row(grid()[0], a, 0.01, n, PACE_US), Row(grid()[0], b, 0.02, m, PACE_US)
    mean = mean_row([first, second], PACE_US)
    assert min(a, b) * (1 - 1e-9) <= mean.us <= max(a, b) * (1 + 1e-9) and mean.n == n + m
    assert mean.half_width >= min(abs(a - b) / 2 / mean.us, 10.0) * (1 - 1e-9)
    assert mean_row([second, first], PACE_US).us == pytest.approx(mean.us)
    busy = replace(second, pace_us=PACE_US * 1.2)
    assert mean_row([first, busy], PACE_US) == first  # one that was calm is better than a mean
    assert mean_row([busy], PACE_US).us == pytest.approx(b / 1.2)


@given(st.lists(st.tuples(TIMES, st.sampled_from([0.97, 1.0, 1.04, 1.3, 1.5])), min_size=1, max_size=9))
def test_a_network_is_told_by_its_calm_processes(seen: list[tuple[float, float]]) -> None:
    calm = [us / pace for us, pace in seen if pace < 1.1]
    expected = median(calm or [us / pace for us, pace in seen])
    assert whole_us([Paced(us, pace * PACE_US) for us, pace in seen], PACE_US) == pytest.approx(expected)


def test_the_pace_of_a_device_undisturbed() -> None:
    assert undisturbed([]) == 0.0
    assert undisturbed([*[66.0, 67.0] * 20, *range(90, 150)]) == 66.0


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_the_network_that_tells_the_pace(format: Format) -> None:
    torch.manual_seed(1)
    data = pace_file.__wrapped__(format)  # not the one that is kept
    assert data == pace_file(format) and 5_000 < len(data) < 200_000


def test_a_head_without_a_pace() -> None:
    assert pace_of({}) == 0.0 and told_pace(0.0) == {}
    with pytest.raises(BadInputError):
        pace_of({"pace_us": "fast"})
