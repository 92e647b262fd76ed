"""edgelr table, on this machine: built for a small network, verified, shown, listed, calibrated; every answer with its exit code."""
from __future__ import annotations

import json
from pathlib import Path

import pytest
from journey_sample import NET, edgelr

from edgelr.errors import Exit
from edgelr.latency import store
from edgelr.latency.store import load_table, own_file, save_table
from edgelr.latency.table import Row, Table


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table of this machine for a small network."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "net.py").write_text(NET, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGELR_HOME", str(folder))
        words = ("--model", f"{folder / 'net.py'}:tiny", "--input", "1x1x8x8", "--numbers", "int8", "--runtime", "litert", "--json", "-q")
        done = edgelr("table", "build", "host", *words)
        assert done.code == 0, done.err
        (facts,) = json.loads(done.out)["tables"]
        assert facts["path"] == str(own_file("host", "litert")) and facts["rows"] == facts["measured"] and facts["missing"] == 0
        again = edgelr("table", "build", "host", *words)
        assert json.loads(again.out)["tables"][0]["measured"] <= facts["added"] + 30  # refining alone may go on
    return folder


@pytest.fixture(autouse=True)
def own(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGELR_HOME", str(home))
    monkeypatch.setattr(store, "PLACES", ())


def table() -> Table:
    return load_table(own_file("host", "litert"))


def test_the_table_says_what_it_was_measured_on() -> None:
    head = table().head
    assert head.how == "measured" and head.target == "host" and head.version and head.core and head.call_us > 0
    assert {o.op for o in table().rows} >= {"conv", "linear", "mean"}
    off = float(head.conditions["rows_again"])
    assert 0 <= off <= head.band and f"rows measured again differ by {off:.1%} (median of " in head.band_from
    assert any(o.kernel == (1, 3) for o in table().rows)  # what its layers become at lower rank


def test_it_is_listed_and_shown(tmp_path: Path) -> None:
    listed = edgelr("table", "list")
    assert listed.code == 0 and str(own_file("host", "litert")) in listed.out and "measured" in listed.out
    assert json.loads(edgelr("table", "list", "--json").out)["tables"][0]["rows"] == len(table().rows)
    shown = edgelr("table", "show", "host", "--family", "conv 1x1 int8")
    assert shown.code == 0 and "conv 1x1 int8" in shown.out and max(map(len, shown.out.split("\n")[:-2])) <= 80
    page = tmp_path / "stairs.html"
    assert edgelr("table", "show", "host", "-o", str(page)).code == 0 and "<svg" in page.read_text("utf-8")
    unknown = edgelr("table", "show", "host", "--family", "conv 9x9 int8")
    assert unknown.code == Exit.USAGE and "conv 1x1 int8" in unknown.err
    assert edgelr("table", "show", "host", "--runtime", "onnxruntime").code == Exit.USAGE


def test_a_table_that_no_longer_holds_ends_with_code_7(tmp_path: Path) -> None:
    t = table()
    wrong = tmp_path / "wrong.tsv"
    save_table(wrong, Table(t.head, {o: Row(o, r.us * 3 + 20, r.half_width, r.n) for o, r in t.rows.items()}))
    done = edgelr("table", "verify", "host", "--table", str(wrong), "--rows", "8", "--json", "-q")
    assert done.code == Exit.UNTRUSTED_MEASUREMENT, done.err
    (facts,) = json.loads(done.out)["tables"]
    assert not facts["holds"] and facts["bias"] < -0.3 and facts["rows"] == 8


def test_a_target_without_a_device_is_not_measured() -> None:
    done = edgelr("table", "build", "raspberry-pi-4", "-q")
    assert done.code == Exit.USAGE and "@ssh://" in done.err


def test_calibrating_by_files_writes_a_table_of_the_users_own(home: Path, tmp_path: Path) -> None:
    from journey_sample import build

    from edgelr.latency.cut import cut_operators
    from edgelr.latency.pricer import Pricer
    from edgelr.pipeline.files import draft
    from edgelr.pipeline.precision import Precision
    from edgelr.pipeline.source import inspect

    data = draft(inspect("tiny", build(), (1, 8, 8)).graph, ("tflite",), Precision())["tflite"]
    file, out = tmp_path / "net.tflite", tmp_path / "mine.tsv"
    file.write_bytes(data)
    pricer = Pricer(table())
    us = sum(pricer.price(c.operation).us for c in cut_operators(data, "tflite")) + table().head.call_us
    three = [x for i in range(3) for x in ("--measured", f"{file}:{1.3 * us / 1e3:.6f}ms")]
    done = edgelr("table", "calibrate", "host", *three, "--board", "my board", "-o", str(out), "--json")
    assert done.code == 0, done.err
    (facts,) = json.loads(done.out)["tables"]
    assert 1.2 < facts["factors"]["int8"] < 1.34  # a file's price leaves out what costs nothing, the sum above has it
    assert "my board" in load_table(out).head.on and load_table(out).head.how == "measured"
    for bad in ("net.tflite", f"{file}:fast", f"{file}:-3ms", f"{file}:nan", f"{tmp_path / 'none.tflite'}:3ms", f"{home / 'net.py'}:3ms"):
        assert edgelr("table", "calibrate", "host", "--measured", bad, "-o", str(out)).code in (Exit.USAGE, Exit.BAD_INPUT)
    assert edgelr("table", "calibrate", "host").code == Exit.USAGE
