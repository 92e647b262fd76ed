"""Prices from a table's rows: exact where there is a row, near where there are neighbours, flagged beyond, never falling with the rank."""
from __future__ import annotations

import time
from dataclasses import replace
from itertools import pairwise

import pytest
from latency_sample import HEAD, STEP, add, conv, grid, table, us

from edgelr.errors import BadInputError
from edgelr.latency.families import family_of, place_of, work_of
from edgelr.latency.loops import Layer
from edgelr.latency.operation import Operation
from edgelr.latency.pricer import UNLIKE_ERROR, Pricer
from edgelr.latency.table import Row, Table


def test_a_row_is_priced_as_it_is() -> None:
    t = table(grid())
    pricer = Pricer(t)
    for operation, row in t.rows.items():
        price = pricer.price(operation)
        assert price.basis == "row" and price.us == pytest.approx(row.us) and price.error == 0.01


def test_between_rows_a_price_is_near() -> None:
    pricer = Pricer(table(grid()))
    for side, c_in, c_out in ((10, 24, 24), (20, 48, 96), (40, 100, 40), (28, 64, 100), (14, 128, 32)):
        price = pricer.price(conv(side, c_in, c_out))
        assert price.basis == "between"
        assert price.us == pytest.approx(us(conv(side, c_in, c_out)), rel=0.05)
        assert price.error < 0.1


def test_channels_are_priced_by_the_kernels_step() -> None:
    pricer = Pricer(table(grid()))
    step = [pricer.price(conv(28, 48, c)).us for c in range(STEP + 1, 2 * STEP + 1)]
    assert max(step) == pytest.approx(min(step))
    assert pricer.price(conv(28, 48, 2 * STEP + 1)).us > 1.2 * step[0]


def test_channels_off_the_step_are_as_much_dearer_as_rows_off_it_nearby_say() -> None:
    dear = {conv(side, 64, 4): 2.0 * us(conv(side, 64, STEP)) for side in (14, 20, 28)}
    between = {conv(side, 64, STEP + 4): us(conv(side, 64, 2 * STEP)) for side in (14, 20, 28)}
    rows = [*(Row(o, us(o), 0.01, 50) for o in grid()), *(Row(o, t, 0.01, 50) for o, t in (dear | between).items())]
    pricer = Pricer(Table(HEAD, {r.operation: r for r in rows}))
    step, two = pricer.price(conv(24, 64, STEP)).us, pricer.price(conv(24, 64, 2 * STEP)).us
    assert pricer.price(conv(24, 64, 5)).us == pytest.approx(2 * step, rel=0.1)
    assert pricer.price(conv(24, 64, STEP + 5)).us == pytest.approx(two, rel=0.05)
    assert Pricer(table(grid())).price(conv(24, 64, 5)).us == pytest.approx(step, rel=0.05)  # nothing known of it


def test_loops_are_priced_by_their_steps_and_by_what_a_step_does() -> None:
    def loop(steps: int, state: int) -> Operation:
        return Layer("onnx", "float", 4, steps, state, state, False, ((state, 4 * state),)).operation()

    def takes(o: Operation) -> float:
        steps, elements, state, multiplied = place_of(o)
        return 5.0 + steps * (0.5 + 0.01 * state + 1e-4 * multiplied) + 1e-4 * elements

    rows = [loop(steps, state) for steps in (4, 16, 32) for state in (32, 64, 128, 256)]
    pricer = Pricer(Table(HEAD, {o: Row(o, takes(o), 0.01, 50) for o in rows}))
    assert [str(f) for f in pricer.families] == ["loop gates4of1 float"]
    assert pricer.families[0].sizes == ("steps", "elements", "state", "multiplications")
    between = pricer.price(loop(12, 100))
    assert between.basis == "between" and between.us == pytest.approx(takes(loop(12, 100)), rel=0.05)
    assert pricer.price(loop(200, 100)).basis == "beyond"


def test_beyond_its_rows_by_more_than_a_step_a_price_is_flagged() -> None:
    pricer = Pricer(table([*grid(), conv(28, 64, 128)]))
    assert pricer.price(conv(28, 64, 128 + STEP)).basis == "between"
    for operation in (conv(28, 64, 128 + STEP + 1), conv(28, 160, 64), conv(64, 64, 64), conv(28, 8, 64), conv(5, 64, 64)):
        assert pricer.price(operation).basis == "beyond"


def test_two_steps_beyond_the_widest_row_are_flagged_though_they_are_near_it() -> None:
    pricer = Pricer(table([*grid(), *(conv(s, i, 512) for s in (7, 56) for i in (16, 128))]))
    assert pricer.price(conv(28, 64, 512 + STEP)).basis == "between"
    assert pricer.price(conv(28, 64, 512 + 2 * STEP)).basis == "beyond"


def test_in_a_corner_that_no_row_is_near_a_price_is_beyond_though_each_size_occurs() -> None:
    some = [conv(s, i, o) for s, i, o in ((7, 16, 8), (7, 128, 128), (14, 64, 64), (56, 16, 16), (28, 32, 16), (14, 16, 16), (7, 64, 64))]
    pricer = Pricer(table(some))
    assert pricer.price(conv(56, 128, 128)).basis == "beyond"
    assert pricer.price(conv(14, 40, 40)).basis == "between"


def test_a_family_without_rows_is_priced_by_the_one_most_like_it_and_flagged() -> None:
    pricer = Pricer(table(grid()))
    price = pricer.price(conv(28, 64, 64, kernel=5))
    assert (price.basis, price.error) == ("unlike", UNLIKE_ERROR)
    assert price.us == pytest.approx(25 / 9 * us(conv(28, 64, 64)), rel=0.3)  # the work counts, not the name alone
    assert pricer.price(conv(28, 64, 64, numbers="float")).basis == "unlike"
    assert pricer.price(add(28, 64)).basis == "unlike"  # nothing has such sizes at all


def test_an_empty_table_prices_nothing() -> None:
    with pytest.raises(BadInputError, match="no rows"):
        Pricer(Table(HEAD, {}))


def test_rows_that_fall_with_the_rank_are_smoothed_and_told() -> None:
    t = table(grid())
    odd = conv(28, 16, 64)  # a disturbed measurement: dearer than more channels
    more = conv(28, 16, 128)
    pricer = Pricer(Table(t.head, {**t.rows, odd: Row(odd, us(more) * 1.5, 0.01, 50), more: Row(more, us(more))}))
    assert set(pricer.smoothed()) >= {odd, more}
    prices = [pricer.price(conv(28, 16, c)).us for c in range(STEP, 129, STEP)]
    assert all(a <= b + 1e-6 for a, b in pairwise(prices))
    assert Pricer(t).smoothed() == {}


def test_rows_off_the_kernels_step_price_themselves_alone() -> None:
    t = table(grid())
    slow = conv(28, 64, 12)  # off the step, and slower than 16 channels: seen in ONNX Runtime on x86-64
    pricer = Pricer(Table(t.head, {**t.rows, slow: Row(slow, 10 * us(slow))}))
    assert pricer.price(slow).us == pytest.approx(10 * us(slow))
    assert pricer.price(conv(28, 64, 16)).us == pytest.approx(us(conv(28, 64, 16)), rel=0.05)


def test_small_times_are_told_apart_only_as_well_as_calls_are() -> None:
    """The cost of a call is taken off each row: what is left of a tiny operation is noise, and must not steer larger ones."""
    t = table([add(s, c) for s in (1, 4, 7, 14, 28, 56) for c in (16, 64)])
    noisy = {**t.rows, add(1, 16): Row(add(1, 16), 0.0), add(1, 64): Row(add(1, 64), 0.9)}
    pricer = Pricer(Table(replace(t.head, call_us=8.0), noisy))
    assert pricer.price(add(40, 32)).us == pytest.approx(us(add(40, 32)), rel=0.15)


def test_thousands_of_prices_a_second() -> None:
    pricer = Pricer(table(grid()))
    wanted = [conv(s, i, o) for s in range(8, 28) for i in range(16, 116, 10) for o in range(8, 128, 8)]
    pricer.price(wanted[0])
    start = time.perf_counter()
    for operation in wanted:
        pricer.price(operation)
    first = time.perf_counter() - start
    for operation in wanted:
        pricer.price(operation)
    again = time.perf_counter() - start - first
    assert len(wanted) / first > 500  # on a busy machine; 5,000 on an idle one
    assert len(wanted) / again > 20_000


@pytest.mark.parametrize(
    ("text", "place", "family"),
    [
        ("conv int8 1x14x14x64 1x14x14x32 3x3 1x1 1 none -", (196, 576, 32), "conv 3x3 int8"),
        ("conv float 1x14x14x64 1x14x14x32 3x3 1x1 4 relu -", (196, 144, 8, 4), "conv 3x3 grouped float"),
        ("depthwise int8 1x28x28x64 1x14x14x64 3x3 2x2 64 none -", (196, 64, 9), "depthwise 3x3 stride 2x2 int8"),
        ("linear dynamic 1x49x64 1x49x192 1x1 1x1 1 none -", (49, 64, 192), "linear dynamic"),
        ("matmul int8 1x3x197x64,1x3x197x64 1x3x197x197 1x1 1x1 1 none turn_b", (3, 197, 64, 197), "matmul turn_b int8"),
        ("matmul int8 1x3x197x197,1x3x197x64 1x3x197x64 1x1 1x1 1 none -", (3, 197, 197, 64), "matmul int8"),
        ("softmax int8 1x3x197x197 1x3x197x197 1x1 1x1 1 none -", (591, 197), "softmax int8"),
        ("mean int8 1x7x7x64 1x1x1x64 1x1 1x1 1 none axes1x2", (64, 49), "mean axes1x2 int8"),
        ("maxpool int8 1x14x14x64 1x7x7x64 2x2 2x2 1 none -", (49, 64, 4), "maxpool int8"),
        ("mul int8 1x1x1x16,1x56x56x16 1x56x56x16 1x1 1x1 1 none -", (3136, 16), "mul -spread int8"),
        ("add float 1x64x32 1x64x32 1x1 1x1 1 none constant1x1x32", (2048,), "add constantn float"),
        ("split float 1x192 1x128 1x1 1x1 1 none axis1into128x64", (1, 192), "split axis1into2 float"),
        ("slice int8 1x64x3x32 1x64x1x32 1x1 1x1 1 none -", (64, 32), "slice int8"),
        ("lstm float 1x49x40 1x49x64 1x1 1x1 1 none -", (49, 40, 64), "lstm float"),
        ("fill float - 49x64 1x1 1x1 1 none -", (3136,), "fill float"),
        ("quantize int8 scalar scalar 1x1 1x1 1 none -", (1,), "quantize int8"),
    ],
)
def test_the_sizes_and_the_family_of_an_operation(text: str, place: tuple[int, ...], family: str) -> None:
    operation = Operation.parse(text)
    assert place_of(operation) == place
    assert str(family_of(operation)) == family
    assert len(family_of(operation).sizes) == len(place)
    assert work_of(operation) >= 1


def test_a_clamp_costs_nothing() -> None:
    plain = conv(14, 16, 32)
    assert family_of(replace(plain, activation="relu6")) == family_of(plain)
