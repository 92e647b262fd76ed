"""The summary: 80 columns, warnings first, never a MAC without its milliseconds, never a blank, never a steered terminal."""
from __future__ import annotations

import dataclasses
import io

import pytest
from report_sample import layer, sample
from rich.console import Console

from edgelr.report import LayerLatency, Report
from edgelr.report.terminal import show


def told(report: Report, width: int = 80, colour: bool = False) -> str:
    out = io.StringIO()
    show(report, Console(file=out, width=width, force_terminal=colour, color_system="standard" if colour else None))
    return out.getvalue()


def lines(report: Report) -> list[str]:
    return told(report).splitlines()


@pytest.mark.parametrize("name", ["conv{}", "backbone.features.stages.3.blocks.{}.attention.projection.conv2d_depthwise_separable.weight"])
def test_the_summary_fits_80_columns(name: str) -> None:
    assert max(map(len, lines(sample(60, names=name)))) <= 80


def test_warnings_come_first() -> None:
    assert lines(sample())[0].startswith("! The first batch norm")


def test_the_summary_tells_budget_accuracy_and_files() -> None:
    text = told(sample(), width=160)
    for fact in ("Not every budget is met.", "NOT MET", "0.279 ms", "70%ms", "91.70 %", "−0.72"):  # noqa: RUF001
        assert fact in text
    for fact in ("model.int8.onnx", "203,907 bytes", "97.14 %"):
        assert fact in text
    for fact in ("0.466 ms (0.457 to 0.489, n = 200), measured", "channel r32/64", "22.0 → 15.2", "bit for bit", "simulated"):
        assert fact in text
    assert "Every budget is met." in told(sample(budgets=sample().budgets[:1]))


def test_a_mac_or_parameter_saving_never_stands_without_milliseconds() -> None:
    costs = told(sample()).partition("Costs")[2].partition("Accuracy")[0]
    assert costs.index(" ms ") < costs.index("parameters") < costs.index("MACs")
    unmeasured = sample(artifacts=tuple(dataclasses.replace(a, latency=()) for a in sample().artifacts))
    costs = told(unmeasured).partition("Costs")[2].partition("Accuracy")[0]
    assert costs.index("not measured") < costs.index("parameters") < costs.index("MACs")


def test_a_long_table_is_folded_to_what_was_factorised() -> None:
    text = told(sample(60))
    assert "40 factorised, 20 dense (dense ones not shown)" in text
    assert "stages.1.conv1" in text
    assert "stages.3.conv1" not in text
    assert "stages.3.conv1" in told(sample(20))
    dense = tuple(layer(f"c{i}", i, dense=True) for i in range(60))
    assert "0 factorised, 60 dense" in told(dataclasses.replace(sample(), layers=dense))


def test_what_is_not_known_is_said() -> None:
    report = sample(2)
    unknown = dataclasses.replace(
        report,
        layers=(
            dataclasses.replace(report.layers[0], latency_us=None),
            dataclasses.replace(report.layers[1], latency_us=LayerLatency(None, 3.0, "predicted")),
        ),
        artifacts=(dataclasses.replace(report.artifacts[0], latency=(), score=None, agreement=None, sqnr_db=None),),
        source=dataclasses.replace(report.source, macs=None, latency=()),
    )
    text = told(unknown, width=160)
    assert "not measured → 3.0" in text
    assert "latency not measured" in text
    assert "agreement with the source not measured" in text
    assert "not known" in text
    assert "None" not in text


def test_no_name_steers_the_terminal_or_its_markup() -> None:
    text = told(sample(2, names="[bold]x[/bold]\x1b[2J\x07{}", warnings=("\x1b]0;owned\x07",)), width=160, colour=False)
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "[bold]x[/bold]" in text


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[1;31m" in told(sample(), colour=True)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[1;31m" not in told(sample(), colour=True)
    assert "31m" not in told(sample(), colour=True)
