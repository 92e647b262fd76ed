"""report.json: schema 1 of the contract, whole and unchanged by writing and reading; nothing that can't be true gets in."""
from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
from report_sample import HOST, latency, sample

from edgelr.errors import BadInputError, EdgelrError
from edgelr.report import (
    Artifact,
    BudgetLine,
    Latency,
    LayerLatency,
    Milliseconds,
    Ops,
    Report,
    Round,
    TargetFacts,
    from_json,
    safe_command,
    to_json,
)
from edgelr.vocabulary import Score, Timing

# The contract, word for word: what other programs read. Fields may be added, never renamed.
CONTRACT = {
    "": "schema edgelr seed versions seconds model target budgets source stages layers artifacts search",
    "model": "name inputs",
    "target": "name runtime threads device",
    "budgets.0": "kind limit unit value how on met",
    "source": "params macs float_bytes score latency",
    "source.score": "metric value n split",
    "source.latency.0": "on runtime threads ms how",
    "stages.0": "name params macs score",
    "layers.0": "name kind shape scheme rank full_rank macs bytes latency_us why",
    "layers.0.latency_us": "dense chosen how",
    "artifacts.0": "path format bytes sha256 ops layout_ops score agreement sqnr_db reference latency",
    "artifacts.0.ops": "int8 float other",
    "artifacts.0.latency.0": "on runtime threads ms how",
    "artifacts.0.latency.0.ms": "median p10 p90 n",
    "search": "method evaluations seconds bound gap",
}


def at(data: object, path: str) -> dict[str, object]:
    for step in filter(None, path.split(".")):
        data = data[int(step)] if isinstance(data, list) else data[step]  # type: ignore[index]
    assert isinstance(data, dict)
    return data


def changed(path: str, key: str, value: object) -> str:
    data = json.loads(to_json(sample()))
    at(data, path)[key] = value
    return json.dumps(data)


@pytest.mark.parametrize("path", CONTRACT)
def test_report_json_has_the_fields_of_the_contract(path: str) -> None:
    assert set(CONTRACT[path].split()) <= set(at(json.loads(to_json(sample())), path))


FIELDS = [(path, field) for path, fields in CONTRACT.items() for field in fields.split() if field not in {"score", "latency"}]


@pytest.mark.parametrize(("path", "field"), FIELDS)
def test_a_missing_field_is_refused_or_is_one_that_may_be_absent(path: str, field: str) -> None:
    data = json.loads(to_json(sample()))
    del at(data, path)[field]
    optional = {"device", "agreement", "sqnr_db", "reference", "bound", "gap"}
    if field in optional:
        from_json(json.dumps(data))
    else:
        with pytest.raises(BadInputError, match="schema"):
            from_json(json.dumps(data))


def test_writing_and_reading_gives_the_same_report_and_the_same_text() -> None:
    report = sample()
    text = to_json(report)
    assert from_json(text) == report
    assert to_json(from_json(text)) == text
    assert to_json(sample(versions=dict(reversed(report.versions.items())))) == text


def test_added_fields_are_let_be() -> None:
    assert from_json(changed("artifacts.0", "energy_mj", 3)) == sample()
    assert from_json(changed("", "weather", {"sky": "clear"})) == sample()


def test_reports_of_numpy_numbers_are_written() -> None:
    report = sample(seed=np.int64(3), seconds={"read": np.float32(0.5)})
    assert json.loads(to_json(report))["seed"] == 3
    assert json.loads(to_json(report))["seconds"] == {"read": 0.5}


@pytest.mark.parametrize(
    ("path", "key", "value"),
    [
        ("", "schema", 2),
        ("", "schema", True),
        ("", "seed", "zero"),
        ("", "layers", {}),
        ("", "versions", []),
        ("", "model", None),
        ("layers.0", "shape", [1, "2"]),
        ("budgets.0", "kind", "joy"),
        ("budgets.0", "how", "guessed"),
        ("budgets.2", "met", True),
        ("source.score", "value", 1.2),
        ("artifacts.0", "agreement", -0.1),
        ("artifacts.0", "sha256", "../x"),
        ("artifacts.0.latency.0", "on", ""),
        ("artifacts.0.latency.0.ms", "n", 0),
        ("artifacts.0.latency.0.ms", "median", float("nan")),
        ("artifacts.0.latency.0.ms", "median", -1.0),
        ("stages.0", "name", "polished"),
    ],
)
def test_a_report_that_cannot_be_true_is_refused(path: str, key: str, value: object) -> None:
    with pytest.raises(BadInputError):
        from_json(changed(path, key, value))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"', "[" * 100_000])
def test_what_is_no_report_is_refused(text: str) -> None:
    with pytest.raises(BadInputError):
        from_json(text)


MS = Milliseconds(1.0, 0.9, 1.1, 10)


@pytest.mark.parametrize("on", ["raspberry-pi-4@emulated", "qemu-aarch64", "simulated Cortex-A72", "", "  "])
def test_what_no_real_device_gave_cannot_be_stored_as_measured(on: str) -> None:
    with pytest.raises(EdgelrError):
        Latency(on, "litert", 1, MS, "measured")
    with pytest.raises(EdgelrError):
        BudgetLine("latency", 2.0, "ms", 1.0, "measured", on)
    with pytest.raises(EdgelrError):
        Round(1, "litert", on, 1.0, 1.0)
    Latency(on, "litert", 1, MS, "simulated")


def test_a_layer_cannot_be_measured_on_an_emulated_target() -> None:
    with pytest.raises(EdgelrError, match="as measured"):
        sample(target=TargetFacts("raspberry-pi-4", "litert", 1, "emulated"))


def test_a_measurement_has_calls_behind_it() -> None:
    with pytest.raises(EdgelrError, match="no calls"):
        Latency(HOST, "litert", 1, dataclasses.replace(MS, n=0), "measured")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_that_json_cannot_hold_are_refused_when_they_arise(value: float) -> None:
    with pytest.raises(EdgelrError):
        BudgetLine("size", 1.0, "KB", value, "counted", "model.int8.onnx")
    with pytest.raises(EdgelrError):
        LayerLatency(value, 1.0, "predicted")
    with pytest.raises(EdgelrError):
        sample(seconds={"read": value})


def test_an_infinite_sqnr_is_told_as_exact() -> None:
    artifact = Artifact("m.onnx", "onnx", 1, "0" * 64, Ops(1, 0, 0), 0, sqnr_db=math.inf)
    assert artifact.exact
    assert artifact.sqnr_db is None


@pytest.mark.parametrize(("value", "met"), [(0.99, True), (1.0, True), (1.0001, False)])
def test_whether_a_budget_is_met_follows_from_its_numbers(value: float, met: bool) -> None:
    line = BudgetLine("size", 1.0, "MB", value, "counted", "model.int8.tflite")
    assert line.met is met
    assert sample(budgets=(line,)).met is met


def test_a_timing_keeps_every_number() -> None:
    row = Latency.of(Timing(on=HOST, runtime="litert", threads=2, median=1.0, p10=0.9, p90=1.2, n=50, how="measured"))
    assert row == Latency(HOST, "litert", 2, Milliseconds(1.0, 0.9, 1.2, 50), "measured")


def test_latencies_are_compared_only_where_all_else_is_equal() -> None:
    report: Report = sample()
    assert report.baseline(latency("litert", 0.2), "tflite") == ("dense int8", latency("litert", 0.404))
    assert report.baseline(latency("torch", 2.0), "onnx") == ("float source", latency("torch", 2.31))
    for change in ({"threads": 4}, {"on": "another"}, {"runtime": "tvm"}, {"how": "predicted"}):
        assert report.baseline(dataclasses.replace(latency("litert", 0.2), **change), "tflite") is None  # type: ignore[arg-type]


def test_a_score_out_of_range_is_refused() -> None:
    with pytest.raises(EdgelrError):
        dataclasses.replace(sample().source, score=Score("accuracy", 91.7, 100, "test"))


def test_the_command_tells_no_password_and_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    argv = ["edgelr", "compress", "/home/ada/my nets/n.py:f", "--target", "pi@ssh://pi:s3cret@192.0.2.7", "-o", "/home/adam/x"]
    line = safe_command(argv)
    assert "s3cret" not in line
    assert "ssh://pi:***@192.0.2.7" in line
    assert "/home/ada/" not in line
    assert "/home/adam/x" in line
