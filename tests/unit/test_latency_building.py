"""Building, verifying and calibrating on a made-up board whose times are known: nothing is lost, nothing is measured twice."""
from __future__ import annotations

from dataclasses import replace

import pytest
from latency_sample import HEAD, Board, add, conv, grid, table, us

from edgelr.errors import BadInputError, MeasurementError, UsageError
from edgelr.latency.building import PORTION, TRIAL, build, coarse_first, refined
from edgelr.latency.calibrate import Whole, calibrate
from edgelr.latency.families import family_of, work_of
from edgelr.latency.grid import grid as general_grid
from edgelr.latency.operation import Operation
from edgelr.latency.pricer import Pricer
from edgelr.latency.row_source import RowSource
from edgelr.latency.samples import sample
from edgelr.latency.stairs import stairs
from edgelr.latency.table import Row, Table
from edgelr.latency.table_check import check
from edgelr.latency.table_file import dumps, loads
from edgelr.latency.verifying import Verified, sure, verify
from edgelr.latency.wanted import at_lower_rank, between, operations_of_network
from edgelr.report.stairs import to_page, to_text
from edgelr.vocabulary import Format, Numbers


def test_every_wanted_row_is_measured_once() -> None:
    board, kept = Board(), list[Table]()
    built = build(HEAD, [*grid(), *grid()], board, save=kept.append)
    assert set(built.table.rows) >= set(grid())
    assert len(board.asked) == len(set(board.asked)) == built.measured
    assert built.missing == () and built.table.head.call_us == 3.0
    assert kept[-1] == built.table


@pytest.mark.parametrize("lasts", [0, 1, 2, 5, TRIAL, TRIAL + 1, 20, 25, 30, 32])
def test_a_lost_link_loses_no_row_that_came_and_the_next_run_measures_the_rest(lasts: int) -> None:
    kept: list[Table] = []
    with pytest.raises(ConnectionError):
        build(HEAD, grid(), Board(lasts), save=kept.append, tolerance=9)
    known = kept[-1] if kept else None
    assert len(known.rows if known else ()) == lasts
    board = Board()
    built = build(HEAD, grid(), board, known=known, tolerance=9)
    assert len(board.asked) == len(grid()) - lasts
    assert set(built.table.rows) == set(grid())
    if known:
        assert not set(board.asked) & set(known.rows)


def test_the_minutes_are_told_before_they_are_spent_and_kept() -> None:
    now, told = [0.0], list[str]()

    class Slow(Board):
        def rows(self, operations):  # type: ignore[no-untyped-def]
            for row in super().rows(operations):
                now[0] += 6.0
                yield row

    wanted = [*grid(), *grid(1), *grid(5)]
    built = build(HEAD, wanted, Slow(), minutes=4, tell=told.append, clock=lambda: now[0])
    assert "75 more rows take about 7.6 minutes, and those between them up to 2.5; in 4 minutes about 39" in told[0]  # 6 s each
    assert now[0] == pytest.approx(240, abs=6)
    assert built.measured == 40 and len(built.missing) == 59
    assert {family_of(o) for o in built.table.rows} == {family_of(o) for o in wanted}  # the coarse ones of each family first


def test_the_minutes_count_that_large_rows_take_longer() -> None:
    """Most operations of a grid are small, and the first ones of each family are: minutes told by those alone are too few."""
    now, told = [0.0], list[str]()

    class Slow(Board):
        def rows(self, operations):  # type: ignore[no-untyped-def]
            for row in super().rows(operations):
                now[0] += 1.0 if row.operation.inputs[0][-1] < 1000 else 11.0
                yield row

    wanted = [conv(8, c, 16) for c in (*range(8, 904, 8), *range(1000, 1480, 10))]
    build(HEAD, wanted, Slow(), tell=told.append, clock=lambda: now[0], tolerance=9)
    assert len(wanted) == 160 and told[0].startswith("136 more rows take about ")
    assert float(told[0].split()[5]) == pytest.approx(136 * (0.7 * 1.0 + 0.3 * 11.0) / 60, rel=0.15)


def test_operations_that_can_not_be_measured_are_told() -> None:
    bad = grid()[3]
    built = build(HEAD, grid(), Board(failing=frozenset({bad})))
    assert built.missing == (bad,)


def test_a_table_of_another_device_or_version_is_not_continued() -> None:
    for other in ({"core": "cortex-a53"}, {"version": "2.2.0"}, {"how": "simulated"}, {"threads": 4}):
        with pytest.raises(BadInputError, match="continued"):
            build(replace(HEAD, **other), grid(), Board(), known=table(grid()[:3]))  # type: ignore[arg-type]


def test_a_continued_table_is_as_old_as_its_oldest_rows_and_stays_edited() -> None:
    known = Table(replace(HEAD, made="2026-01-01"), table(grid()[:3]).rows, edited=True)
    built = build(HEAD, grid(), Board(), known=known)
    assert built.table.head.made == "2026-01-01" and built.table.edited


def test_rows_are_added_where_the_others_do_not_predict() -> None:
    """A cliff that no row lies near: 48 to 64 output channels cost ten times as much."""
    t = table([conv(s, i, o) for s in (7, 14, 28) for i in (16, 64, 128) for o in (16, 32, 64, 128)])
    odd = {o: Row(o, row.us * (10 if o.output[-1] >= 64 else 1)) for o, row in t.rows.items()}
    more = refined(Table(HEAD, odd), 0.1, 50)
    assert more and not set(more) & set(odd)
    assert any(32 < o.output[-1] < 64 for o in more)
    assert refined(t, 0.1, 50) == ()
    assert len(refined(Table(HEAD, odd), 0.0, 5)) == 5


def test_any_beginning_of_the_order_covers_every_family() -> None:
    order = coarse_first([*grid(1), *grid(3), *grid(5), add(7, 16), add(14, 16)])
    assert sorted(order) == sorted([*grid(1), *grid(3), *grid(5), add(7, 16), add(14, 16)])
    assert len({family_of(o) for o in order[:4]}) == 4
    sides = {o.output[1] for o in [o for o in order if o.kernel == (3, 3)][:6]}
    assert {7, 56} <= sides  # the ends before what lies between


def test_half_way_between_two_operations_lies_one_of_the_same_family() -> None:
    a, b = conv(14, 32, 64), conv(28, 128, 64)
    made = between(a, b, 8)
    assert made is not None and family_of(made) == family_of(a)
    assert made.output == (1, 20, 20, 64) and made.inputs == ((1, 20, 20, 64),)
    assert between(a, a, 8) is None and between(a, add(7, 16), 8) is None and between(a, conv(14, 32, 64, 1), 8) is None


def test_a_networks_table_has_its_layers_at_every_kind_of_rank() -> None:
    layer = conv(28, 64, 128)
    found = list(at_lower_rank(layer, 16))
    assert conv(28, 64, 32) in found  # 3x3 to rank 32 …
    assert conv(28, 32, 128, 1) in found  # … and 1x1 from there
    tall = [o for o in found if o.kernel == (3, 1)]
    wide = [o for o in found if o.kernel == (1, 3)]
    assert tall and len(tall) == len(wide) and {o.output[-1] for o in tall} == {o.inputs[0][-1] for o in wide}
    assert all(r % 16 == 0 for o in tall for r in (o.output[-1],))
    strided = Operation("conv", "int8", ((1, 58, 58, 64),), (1, 28, 28, 128), (3, 3), (2, 2))  # as a .tflite pads it
    first, second = (next(o for o in at_lower_rank(strided, 16) if o.kernel == k) for k in ((3, 1), (1, 3)))
    assert (first.inputs[0][1:3], first.output[1:3], first.stride) == ((58, 56), (28, 56), (2, 1))
    assert (second.inputs[0][1:3], second.output[1:3], second.stride) == ((28, 58), (28, 28), (1, 2))
    linear = Operation("linear", "int8", ((1, 256),), (1, 100))
    assert set(operations_of_network([linear, linear, add(7, 16)], 16)) >= {linear, add(7, 16)}
    assert list(at_lower_rank(add(7, 16), 16)) == []


@pytest.mark.parametrize(("format", "numbers", "least"), [("tflite", "int8", 700), ("onnx", "float", 700), ("onnx", "dynamic", 100)])
def test_the_general_grid(format: Format, numbers: Numbers, least: int) -> None:
    found = general_grid(format, numbers)
    assert found == general_grid(format, numbers) and len(found) == len(set(found))
    assert least <= len(found) <= 1100
    weighted = [work_of(o) for o in found if o.op in ("conv", "depthwise", "linear", "matmul")]
    assert max(weighted) <= 130e6 and sum(weighted) < 8e9 and sum(m > 10e6 for m in weighted) < 0.3 * len(weighted)
    assert weighted == sorted(weighted)
    for operation in found[:: len(found) // 8]:
        sample(operation, format)


def test_a_table_that_holds_and_one_that_does_not() -> None:
    t = table(grid())
    good = verify(t, Board(), count=10)
    assert good.holds and good.off == 0 and good.within == len(good.pairs) == 10
    slow = Table(HEAD, {o: replace(r, us=r.us / 1.3) for o, r in t.rows.items()})
    bad = verify(slow, Board(), count=10)
    assert not bad.holds and bad.bias == pytest.approx(0.3, abs=0.02) and bad.within == 0
    assert [w.operation for w, _ in verify(t, Board(), count=10, seed=1).pairs] != [w.operation for w, _ in good.pairs]
    simulated = Table(replace(HEAD, how="simulated", band=0.4), {o: Row(o, r.us / 1.3) for o, r in t.rows.items()})
    assert verify(simulated, Board(), count=10).holds  # it says of itself that it may be off by 40 %
    with pytest.raises(MeasurementError):
        verify(t, Board(failing=frozenset(grid())))


def test_a_table_of_a_busy_device_says_so() -> None:
    calm = sure(table(grid()), verify(table(grid()), Board(), count=10))
    assert calm.head.conditions["rows_again"] == "0.0000" and calm.head.band == HEAD.band
    assert check(calm) == () and "differ by 0.0% (median of 10)" in calm.head.band_from
    before = Table(HEAD, {o: replace(r, us=r.us / 1.4) for o, r in table(grid()).rows.items()})
    busy = sure(before, verify(before, Board(), count=10))
    assert busy.head.band == pytest.approx(0.4, abs=0.02)
    (label,) = check(loads(dumps(busy)))
    assert "40%" in label and "busy" in label
    for now in (117.043, 117.061):  # the band covers what the head says, rounded either way
        row = Row(grid()[0], 100.0)
        found = sure(Table(replace(HEAD, band=0.1), {row.operation: row}), Verified(((row, replace(row, us=now)),), 0.1))
        assert float(found.head.conditions["rows_again"]) <= found.head.band == pytest.approx(0.17, abs=0.002)
    with pytest.raises(BadInputError, match="damaged"):
        check(Table(replace(HEAD, conditions={"rows_again": "few"}), before.rows))


def wholes(int8: float, float_: float, count: int = 5, noise: float = 0.0) -> list[Whole]:
    """Files of a board whose int8 and float operations take so many times what the table says."""
    files = []
    for i in range(count):
        us_of: dict[Numbers, float] = {"int8": 1000.0 * (i + 1), "float": 600.0 * (count - i)}
        measured = int8 * us_of["int8"] + float_ * us_of["float"] + 3.0 * (int8 + float_) / 2
        files.append(Whole(f"net{i}", measured * (1 + noise * (-1) ** i), us_of, 3.0))
    return files


def test_calibrating_finds_a_boards_factors() -> None:
    t = Table(replace(HEAD, how="simulated", band=0.3), {o: Row(o, us(o)) for o in [*grid(), conv(28, 64, 64, numbers="float")]})
    done = calibrate(t, wholes(1.2, 1.5), "a Pi of mine")
    assert done.factors["int8"] == pytest.approx(1.2, rel=0.04) and done.factors["float"] == pytest.approx(1.5, rel=0.04)
    assert done.table.rows[conv(7, 16, 8)].us == pytest.approx(done.factors["int8"] * us(conv(7, 16, 8)))
    assert done.table.head.how == "simulated" and "a Pi of mine" in done.table.head.on
    assert done.left_out is not None and done.table.head.band == max(map(abs, done.left_out.values())) < 0.05
    assert done.before["net4"] < -0.1
    assert set(done.table.rows) == set(t.rows) and done.table.rows[conv(7, 16, 8)].n == 1


def test_few_files_move_a_table_less_and_tell_no_band_of_their_own() -> None:
    one = calibrate(table(grid()), wholes(1.5, 1.5, count=1), "x")
    five = calibrate(table(grid()), wholes(1.5, 1.5, count=5), "x")
    assert 1.2 < one.factors["all"] < five.factors["all"] < 1.5
    assert one.left_out is None and one.table.head.band == HEAD.band
    assert calibrate(table(grid()), wholes(1.0, 1.0), "x").factors["all"] == pytest.approx(1.0)
    noisy = calibrate(table(grid()), wholes(1.2, 1.2, noise=0.1), "x")
    assert noisy.table.head.band > 0.08


def test_latencies_that_can_not_be_this_boards_are_refused() -> None:
    none, nothing = Whole("a", float("nan"), {"int8": 1.0}, 0.0), Whole("a", 0.0, {"int8": 1.0}, 0.0)
    for files in ([], [none], [nothing], wholes(50, 50), wholes(0.01, 0.01)):
        with pytest.raises(BadInputError):
            calibrate(table(grid()), files, "x")


def test_the_stairs_of_a_family_are_drawn() -> None:
    t = table([*grid(), *(conv(28, 64, c) for c in range(8, 129, 8))])
    line = stairs(Pricer(t), "conv 3x3 int8")
    assert line.fixed == {"output pixels": 784, "input channels x kernel": 576} and line.step == 8
    assert [p.channels for p in line.points if p.row] == list(range(8, 129, 8))
    text = to_text(line, "measured: <here>")
    assert max(map(len, text.split("\n"))) <= 80 and "conv 3x3 int8" in text
    page = to_page(line, "measured: <script>alert(1)</script>")
    assert "<script" not in page and "http" not in page.replace("http-equiv", "") and page.count("<circle") == 16
    assert to_page(line, "x") == to_page(line, "x")


def test_families_that_have_no_stairs_are_told_from_those_that_there_are_none_of() -> None:
    pricer = Pricer(table([*grid(), add(28, 64)]))
    with pytest.raises(UsageError, match="has no 'conv 5x5 int8'") as absent:
        stairs(pricer, "conv 5x5 int8")
    assert absent.value.why == "most like it are conv 3x3 int8; it has 1."
    with pytest.raises(UsageError, match="'add int8' has no stairs"):
        stairs(pricer, "add int8")


def sources(board: Board) -> RowSource:
    """A board is a source of rows as the builder wants it (checked by mypy)."""
    return board


assert PORTION > TRIAL
