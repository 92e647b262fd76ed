"""Whatever the rows: a price never falls where a size grows, lies within the bounds of its rows, and is the same each time."""
from __future__ import annotations

import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from latency_sample import HEAD, STEP, conv

from edgelr.latency.families import family_of, place_of
from edgelr.latency.pricer import Pricer
from edgelr.latency.surface import Surface
from edgelr.latency.table import Row, Table
from edgelr.latency.table_file import dumps, loads

SIZES = st.tuples(st.sampled_from((1, 4, 7, 14, 28)), st.sampled_from((8, 16, 24, 64, 100)), st.sampled_from(range(STEP, 129, STEP)))
ROWS = st.dictionaries(SIZES, st.floats(0.5, 1e5), min_size=1, max_size=24)


def pricer_of(times: dict[tuple[int, int, int], float]) -> Pricer:
    rows = [Row(conv(*sizes), float(f"{us:.6g}")) for sizes, us in times.items()]
    return Pricer(Table(HEAD, {r.operation: r for r in rows}))


@settings(max_examples=60, deadline=None)
@given(ROWS, SIZES, st.integers(0, 2), st.integers(1, 4))
def test_a_price_never_falls_where_a_size_grows(
    times: dict[tuple[int, int, int], float], sizes: tuple[int, int, int], which: int, by: int
) -> None:
    pricer = pricer_of(times)
    grown = tuple(n + (by * STEP if which == i == 2 else by if which == i else 0) for i, n in enumerate(sizes))
    assert pricer.price(conv(*grown)).us >= pricer.price(conv(*sizes)).us * (1 - 1e-6) - 1e-6


@settings(max_examples=60, deadline=None)
@given(ROWS)
def test_a_price_of_a_row_is_the_row_or_told_as_smoothed(times: dict[tuple[int, int, int], float]) -> None:
    pricer = pricer_of(times)
    smoothed = pricer.smoothed()
    for operation, row in pricer.table.rows.items():
        price = pricer.price(operation)
        assert price.basis == "row"
        if operation not in smoothed:
            assert abs(price.us - row.us) <= 0.011 * (row.us + 0.2)


@settings(max_examples=30, deadline=None)
@given(ROWS, SIZES, st.randoms(use_true_random=False))
def test_prices_do_not_depend_on_the_order_of_rows_or_on_the_file(
    times: dict[tuple[int, int, int], float], sizes: tuple[int, int, int], rng: random.Random
) -> None:
    pricer = pricer_of(times)
    rows = list(pricer.table.rows.items())
    rng.shuffle(rows)
    again = Pricer(loads(dumps(Table(HEAD, dict(rows)))))
    assert again.price(conv(*sizes)) == pricer.price(conv(*sizes))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 500), st.integers(1, 500)), min_size=3, max_size=20, unique=True), st.integers(0, 2**16))
def test_known_times_that_grow_are_met(places: list[tuple[int, int]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b, c = rng.uniform(0.01, 1.0, 3)
    us = [1 + a * x + b * y + c * x * y for x, y in places]
    surface = Surface(places, us)
    for place, known in zip(places, us, strict=True):
        assert abs(surface.us(place) / known - 1) < 0.01
        assert surface.within(place)


@settings(max_examples=40, deadline=None)
@given(SIZES)
def test_a_place_belongs_to_its_family(sizes: tuple[int, int, int]) -> None:
    side, c_in, c_out = sizes
    operation = conv(side, c_in, c_out)
    assert place_of(operation) == (side * side, 9 * c_in, c_out)
    assert family_of(operation).channels == 2
