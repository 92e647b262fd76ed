"""Every kind of budget and every way of searching, on the whole journey: what is asked for holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from journey_sample import SHORT, arrays, edgelr, network, words

from edgelr import BudgetError, Data, Split, compress
from edgelr.report import Report


def data() -> Data:
    a = arrays()
    train, validation, test = (Split(a[f"x_{p}"], a[f"y_{p}"]) for p in ("train", "val", "test"))
    return Data(train, validation, test, calibration=train)


def run(budget: str | list[str], **settings: Any) -> Report:
    few = {"score_samples": 64, "calibration_samples": 64, "allow_slower": True}
    return compress(network(), data(), budget=budget, **{**few, **settings})


def factorised(report: Report) -> set[str]:
    return {line.scheme for line in report.layers} - {"dense"}


def test_budgets_of_every_kind_hold_at_once_each_told_in_its_own_unit(inputs: Path) -> None:
    asked = ["30KB", "27KiB", "0.9MB", "60%KB", "100ms", "300%ms", "90000us", "0.4MMAC", "90%MAC", "0.03Mparams", "80%params"]
    budgets = [word for b in asked for word in ("--budget", b)]
    done = edgelr("plan", *words(inputs, *budgets, *SHORT, "--allow-slower", "--json", "-q"))
    assert done.code == 0, done.err
    report = json.loads(done.out)
    lines = [(b["asked"], b["kind"], b["unit"], b["how"], b["on"]) for b in report["budgets"]]
    assert [line[0] for line in lines] == [a for a in asked for _ in range(1 if "MAC" in a or "params" in a else 2)]
    assert all(b["met"] and b["value"] <= b["limit"] for b in report["budgets"])
    for told, kind, unit, how, on in lines:
        assert kind == (
            "latency" if told.endswith("s") and "params" not in told else "size" if "B" in told else "macs" if "MAC" in told else "params"
        )
        assert how == ("measured" if kind == "latency" else "counted") and on
        assert unit in told or kind in ("macs", "params")
    limit = {b["asked"]: b["limit"] for b in report["budgets"]}
    assert limit["27KiB"] == 27 and limit["0.9MB"] == 0.9 and limit["90000us"] == 90000 and limit["100ms"] == 100
    assert limit["0.4MMAC"] == 400_000 and limit["0.03Mparams"] == 30_000
    assert limit["80%params"] == pytest.approx(0.8 * report["source"]["params"])
    assert limit["90%MAC"] == pytest.approx(0.9 * report["source"]["macs"])


@pytest.mark.parametrize("method", ["beam", "additive", "learning-compression", "rank-tuning", "energy", "uniform"])
def test_each_method_meets_the_budget_in_one_format(method: str) -> None:
    report = run("60%KB", method=method, formats=("onnx",))
    assert report.met and [a.format for a in report.artifacts] == ["onnx"]
    assert report.search is not None and report.search.method == method and factorised(report)
    assert (report.search.evaluations > 0) == (method in ("beam", "rank-tuning"))
    assert {b.on for b in report.budgets} == {"model.int8.onnx"}


def test_dense_factorises_nothing_and_a_budget_below_it_is_an_error() -> None:
    report = run("100%KB", method="dense", formats=("onnx",))
    assert report.met and not factorised(report) and report.artifacts[0].bytes == report.dense[0].bytes
    with pytest.raises(BudgetError):
        run("90%KB", method="dense", formats=("onnx",))


@pytest.mark.parametrize("scheme", ["channel", "spatial"])
def test_only_the_allowed_scheme_is_used(scheme: str) -> None:
    report = run(["70%KB"], method="additive", formats=("tflite",), schemes=(scheme,))
    assert report.met and factorised(report) == {scheme}


@pytest.mark.parametrize("budget", ["60%MAC", "50%params"])
def test_a_counted_budget_is_met_by_count_alone(budget: str) -> None:
    report = run(budget, method="additive", formats=("onnx",))
    (line,) = report.budgets
    assert line.met and line.how == "counted"
    last = report.stages[-1]
    assert line.value == (last.macs if "MAC" in budget else last.params)


def test_a_tighter_budget_never_leaves_a_larger_network() -> None:
    sizes = [run(b, method="additive", formats=("onnx",)).artifacts[0].bytes for b in ("80%KB", "60%KB", "45%KB")]
    assert sizes == sorted(sizes, reverse=True)


def test_a_metric_of_the_users_own_is_what_is_reported(inputs: Path) -> None:
    (inputs / "metric.py").write_text("def half(outputs, labels):\n    return 0.5 if len(labels) == 192 else 0.0\n", encoding="utf-8")
    report = run("70%KB", method="additive", formats=("onnx",), metric=f"{inputs}/metric.py:half")
    score = report.artifacts[0].score
    assert score is not None and (score.metric, score.value, score.n) == ("half", 0.5, 192)
