"""A row is told by the calls that found the device at its own pace."""
from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgelr.devices import RowTimes, spread
from edgelr.latency.alone import FEWEST, alone_at
from edgelr.latency.gauges import CHAIN, CHAINED, ONE
from edgelr.latency.operation import Operation
from edgelr.latency.pace import PACE
from edgelr.latency.table import Row
from edgelr.latency.turns import Turns

PACE_US, OWN_US, CALL_US, TINY_US = 70.0, 40.0, 3.0, 0.5
OPERATION = Operation.parse("conv float 1x8x8x16 1x8x8x16 3x3 1x1 1 none -")


def clocked(slowness: list[float]) -> RowTimes:
    """Calls of a file, each as slow as said, with the gauges before it."""
    us = tuple((OWN_US + CALL_US) * slow for slow in slowness)
    one, chain = CALL_US + TINY_US, CALL_US + CHAINED * TINY_US
    gauges = {name: tuple(of * slow for slow in slowness) for name, of in ((ONE, one), (CHAIN, chain), (PACE, PACE_US))}
    s = spread(us)
    return RowTimes(s.median, s.p10, s.p90, s.low, s.high, s.n, calls_us=us, gauges_us=gauges)


@given(busy=st.lists(st.floats(1.2, 2.0), min_size=8, max_size=40), calm=st.integers(FEWEST + 1, 12), at=st.floats(0, 1))
def test_a_calm_stretch_in_a_busy_visit_is_what_tells(busy: list[float], calm: int, at: float) -> None:
    place = round(at * len(busy))
    told = alone_at(clocked([*busy[:place], *[1.0] * calm, *busy[place:]]), PACE_US)
    assert (told.us, told.call_us, told.pace_us) == pytest.approx((OWN_US, CALL_US, PACE_US))
    assert told.calls.n == calm - 1, "the last one was between a calm gauge and a busy one, or no gauge"
    row = told.row(OPERATION)
    assert (row.us, row.pace_us, row.n, row.half_width) == (pytest.approx(OWN_US), pytest.approx(PACE_US), calm - 1, 0.0)


def test_where_too_few_calls_were_calm_all_of_them_tell_and_so_does_their_pace() -> None:
    slowness = [1.0] * FEWEST + [1.4] * 20
    told = alone_at(clocked(slowness), PACE_US)
    assert told.calls.n == len(slowness)
    assert (told.us, told.pace_us) == pytest.approx((OWN_US * 1.4, PACE_US * 1.4))
    assert alone_at(clocked([1.0] * 8 + [1.4] * 20)).pace_us == pytest.approx(PACE_US * 1.4), "no pace was asked for"


def test_a_call_that_a_disturbance_came_in_isn_t_calm() -> None:
    """The gauge before it was at the pace, the one after it not: each stretch of two calm gauges gives one call."""
    slowness = [1.0, 1.0, 1.5] * 10
    times = clocked(slowness)
    us = tuple(us if after == 1.0 else us * 1.3 for us, after in zip(times.calls_us, [*slowness[1:], 1.0], strict=True))
    told = alone_at(RowTimes(*([1.0] * 5), len(us), calls_us=us, gauges_us=times.gauges_us), PACE_US)
    assert told.us == pytest.approx(OWN_US) and told.calls.n == 10


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_turns_come_after_rows_that_took_long_enough_and_not_within_them() -> None:
    clock, done = Clock(), []

    class Source:
        call_us = 2.5

        def rows(self, operations: Iterable[Operation]) -> Iterator[Row]:
            for operation in operations:
                clock.now += 4.0
                yield Row(operation, 1.0, 0.0, 14)

    def then() -> None:
        done.append(clock.now)
        clock.now += 100.0  # what it takes itself doesn't count

    turns = Turns(Source(), then, every_s=10.0, clock=clock)
    for count in (2, 1, 2, 2):
        assert len(list(turns.rows([OPERATION] * count))) == count
    assert turns.call_us == 2.5 and done == [12.0, 12.0 + 100.0 + 16.0]
