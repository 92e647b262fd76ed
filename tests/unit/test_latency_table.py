"""The file of a latency table: what is written is read back, and everything that breaks a rule is refused by name."""
from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from edgelr.errors import BadInputError, UsageError
from edgelr.latency import store
from edgelr.latency.operation import Operation
from edgelr.latency.table import Head, Row, Table
from edgelr.latency.table_check import STALE_DAYS, check
from edgelr.latency.table_file import dumps, loads

HEAD = Head(
    "raspberry-pi-4", "litert", "2.3.0", "cortex-a72", 1, "measured", "Raspberry Pi 4 Model B Rev 1.4", "2026-11-22", 0.08, "its rows",
    call_us=12.5, clock_ghz=1.5, ratio_band=0.03, steps={"int8": 8, "float": 8}, conditions={"governor": "performance"},
)  # fmt: skip


def conv(c_out: int, side: int = 28, numbers: str = "int8") -> Operation:
    return Operation("conv", numbers, ((1, side, side, 64),), (1, side, side, c_out), (3, 3))  # type: ignore[arg-type]


def table(**changes: object) -> Table:
    rows = [Row(conv(c), us, 0.012, 50) for c, us in ((16, 410.25), (8, 233.0), (128, 2875.123456))]
    return Table(replace(HEAD, **changes), {r.operation: r for r in rows})  # type: ignore[arg-type]


def sealed(text: str) -> str:
    """The text with the count and the sum of what it now holds: only the rule under test is broken."""
    body = text[: text.rindex("end\t")]
    count = body.partition("\n\n")[2].count("\n") - 1
    return f"{body}end\t{count}\tsha256:{hashlib.sha256(body.encode()).hexdigest()}\n"


def test_a_table_is_read_back_as_it_was_written() -> None:
    text = dumps(table())
    again = loads(text)
    assert again.head == HEAD
    assert again.rows[conv(128)] == Row(conv(128), 2875.12, 0.012, 50)
    assert dumps(again) == text
    assert not again.edited


def test_the_text_does_not_depend_on_the_order_of_rows_or_of_keys() -> None:
    t = table()
    turned = Table(replace(HEAD, steps=dict(reversed(HEAD.steps.items()))), dict(reversed(t.rows.items())))
    assert dumps(turned) == dumps(t)


def test_the_file_is_plain_text_in_lines() -> None:
    lines = dumps(table()).split("\n")
    assert lines[0] == "edgelr-latency-table\t5"
    assert lines[-2].startswith("end\t3\tsha256:")
    assert "233\t0.012\t50\tconv\tint8\t1x28x28x64\t1x28x28x8\t3x3\t1x1\t1\tnone\t-" in lines


def test_a_simulated_table_stays_simulated() -> None:
    rows = {conv(8): Row(conv(8), 200.0)}
    assert loads(dumps(Table(replace(HEAD, how="simulated"), rows))).head.how == "simulated"
    with pytest.raises(BadInputError, match="simulated table"):
        dumps(table(how="simulated"))  # its rows have intervals: they were measured


@pytest.mark.parametrize(
    ("was", "becomes", "told"),
    [
        ("table\t5\n", "table\t4\n", "schema"),
        ("edgelr-latency-table", "edgelr-table", "first line"),
        ("how\tmeasured", "how\tpredicted", "how"),
        ("core\tcortex-a72\n", "", "core"),
        ("core\tcortex-a72\n", "core\tcortex-a72\ncore\tcortex-a53\n", "second time"),
        ("core\t", "kern\t", "unknown key 'kern'"),
        ("runtime\tlitert", "runtime\ttorch", "torch"),
        ("made\t2026-11-22", "made\t22.11.2026", "made"),
        ("made\t2026-11-22", "made\t20261122", "made"),
        ("step.int8\t8", "step.int8\t0", "0"),
        ("threads\t1", "threads\t1.5", "1.5"),
        ("band\t0.08", "band\t-0.08", "-0.08"),
        ("233\t0.012", "-233\t0.012", "-233"),
        ("233\t0.012", "nan\t0.012", "nan"),
        ("233\t0.012", "inf\t0.012", "inf"),
        ("233\t0.012", "1e3\t0.012", "1e3"),
        ("233\t0.012", "9999999999\t0.012", "9999999999"),
        ("0.012\t50\tconv\tint8\t1x28x28x64\t1x28x28x8", "0.012\t0\tconv\tint8\t1x28x28x64\t1x28x28x8", "'0'"),
        ("1x28x28x8\t", "1x28x28x08\t", "operation"),
        ("1x28x28x8\t", "1x28x28x0\t", "operation"),
        ("1x28x28x8\t", "1x28x28x99999999999\t", "operation"),
        ("conv\tint8\t1x28x28x64\t1x28x28x8", "conv\tint4\t1x28x28x64\t1x28x28x8", "int4"),
        ("1x28x28x16\t", "1x28x28x8\t", "second row"),
        ("\tnone\t-\n", "\tnone\n", "columns"),
        ("us\thalf_width", "ms\thalf_width", "column names"),
        ("on\tRaspberry", "on\t\x1b[2JRaspberry", "control character"),
        ("on\tRaspberry", f"on\t{'x' * 700}", "600"),
        ("on\tRaspberry", f"on\t{'x' * 2000}", "too long"),
    ],
)
def test_what_breaks_a_rule_is_refused_and_named(was: str, becomes: str, told: str) -> None:
    text = dumps(table())
    assert was in text
    with pytest.raises(BadInputError) as caught:
        loads(sealed(text.replace(was, becomes, 1)))
    assert told in str(caught.value)


def test_a_row_that_is_missing_or_changed_is_noticed() -> None:
    text = dumps(table())
    row = next(line for line in text.split("\n") if line.startswith("233\t"))
    for broken in (text.replace(row + "\n", ""), text.replace("233\t", "234\t"), text.replace("cortex-a72", "cortex-a73")):
        with pytest.raises(BadInputError):
            loads(broken)


def test_a_table_edited_by_hand_is_accepted_where_it_says_so_and_labelled_for_ever() -> None:
    text = dumps(table()).replace("233\t", "234\t")
    edited = loads(text[: text.rindex("sha256:")] + "edited\n")
    assert edited.rows[conv(8)].us == 234
    assert check(edited) == ("edited by hand",)
    assert loads(dumps(edited)).edited
    with pytest.raises(BadInputError, match="rows"):
        loads((text[: text.rindex("sha256:")] + "edited\n").replace("end\t3", "end\t4"))


def test_numbers_that_are_none_are_not_written() -> None:
    for us in (float("nan"), float("inf"), -1.0):
        with pytest.raises(BadInputError):
            dumps(Table(HEAD, {conv(8): Row(conv(8), us)}))
    with pytest.raises(BadInputError):
        dumps(table(on="a\nb"))
    with pytest.raises(BadInputError):
        dumps(Table(HEAD, {conv(8): Row(conv(16), 1.0)}))


def test_a_table_of_another_core_or_runtime_or_thread_count_is_refused() -> None:
    for wanted in ({"core": "cortex-a53"}, {"runtime": "onnxruntime"}, {"threads": 4}):
        with pytest.raises(BadInputError, match="can't be used here"):
            check(table(), **wanted)  # type: ignore[arg-type]
    assert check(table(), core="cortex-a72", runtime="litert", threads=1, version="2.3.0") == ()


def test_labels_tell_another_version_and_age() -> None:
    assert check(table(), version="2.4.0") == ("its rows are of litert 2.3.0, and 2.4.0 is to be priced",)
    made = date(2026, 11, 22)
    assert check(table(), today=made.replace(year=2027)) == ("stale: measured 365 days ago (2026-11-22)",)
    assert check(table(), today=date.fromordinal(made.toordinal() + STALE_DAYS)) == ()
    assert check(table(), today=date(2026, 11, 1)) == ("its date is in the future (2026-11-22)",)
    simulated = Table(replace(HEAD, how="simulated"), {conv(8): Row(conv(8), 1.0)})
    assert check(simulated, today=date(2030, 1, 1)) == ()


def test_the_users_own_table_comes_before_the_shipped_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGELR_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(store, "PLACES", (tmp_path / "targets",))
    assert store.find_table("raspberry-pi-4", "litert") is None
    shipped = tmp_path / "targets" / "raspberry-pi-4" / "litert.tsv"
    store.save_table(shipped, table(on="shipped"))
    found = store.find_table("raspberry-pi-4", "litert", today=date(2028, 1, 1))
    assert found is not None and found.path == shipped and found.labels[0].startswith("stale")
    store.save_table(store.own_file("raspberry-pi-4", "litert"), table(on="mine"))
    found = store.find_table("raspberry-pi-4", "litert")
    assert found is not None and found.table.head.on == "mine"
    named = tmp_path / "named.tsv"
    store.save_table(named, table(on="named"))
    assert (f := store.find_table("raspberry-pi-4", "litert", named)) is not None and f.table.head.on == "named"
    assert store.find_table("raspberry-pi-4", "onnxruntime", named) is None  # a file is the table of its own runtime
    with pytest.raises(BadInputError, match="core"):
        store.find_table("raspberry-pi-4", "litert", core="cortex-a53")
    assert [type(f).__name__ for _, f in store.all_tables()] == ["Found", "Found"]


def test_a_tables_name_is_no_way_out_of_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGELR_HOME", str(tmp_path))
    for name in ("../../etc", "a/b", "", ".hidden", "x\n", "-o"):
        with pytest.raises(UsageError):
            store.own_file(name, "litert")


def test_a_table_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "t.tsv"
    store.save_table(file, table())
    before = file.read_bytes()
    with pytest.raises(BadInputError):
        store.save_table(file, Table(HEAD, {conv(8): Row(conv(8), float("nan"))}))
    assert file.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["t.tsv"]
    with pytest.raises(BadInputError, match="can't be read"):
        store.load_table(tmp_path / "none.tsv")
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(BadInputError, match="text"):
        store.load_table(file)
