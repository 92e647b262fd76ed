"""What a report tells of number formats: accounts that add up, reasons, forms, sensitivities, training; told on terminal and page."""
from __future__ import annotations

import dataclasses
import io
import json
import math
import re

import pytest
from export_sample import sample as quantized
from report_sample import precise, sample
from rich.console import Console

from edgelr.errors import BadInputError, EdgelrError
from edgelr.export import onnx_bytes, tflite_bytes
from edgelr.export.account import OpRow, account, accounted
from edgelr.report import Artifact, Form, OpGroup, Ops, Report, Reverted, Sensitivity, Training, from_json, to_json
from edgelr.report.numbers import reasons, speeds
from edgelr.report.page import to_html
from edgelr.report.terminal import show


def told(report: Report, width: int = 80) -> str:
    out = io.StringIO()
    show(report, Console(file=out, width=width))
    return out.getvalue()


def page(report: Report) -> str:
    return re.sub(r"<[^>]+>", "", to_html(report)).replace("&#39;", "'")


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_a_written_file_s_account_adds_up_in_the_report(format: str) -> None:
    data = (tflite_bytes if format == "tflite" else onnx_bytes)(quantized())
    counted, groups = account(data, format), OpGroup.of(accounted(quantized(), data, format))  # type: ignore[arg-type]
    ops = Ops(counted.int8, counted.float, counted.other, counted.dynamic)
    artifact = Artifact("m", format, len(data), "0" * 64, ops, 0, accounting=groups)
    assert sum(g.count for g in artifact.accounting) == sum(counted.by_type.values())
    assert len({(g.type, g.numbers, g.by, g.why) for g in groups}) == len(groups)


@pytest.mark.parametrize("ops", [Ops(23, 8, 0, 1), Ops(24, 7, 0, 1), Ops(24, 8, 0, 0), Ops(24, 8, 1, 1), Ops(25, 7, 0, 1)])
def test_an_account_that_does_not_add_up_is_refused(ops: Ops) -> None:
    with pytest.raises(EdgelrError, match="add up"):
        dataclasses.replace(precise().artifacts[0], ops=ops)


@pytest.mark.parametrize(("numbers", "by", "why"),
                         [("float", "", "x"), ("float", "choice", ""), ("int8", "choice", "x"), ("dynamic", "", "")])
def test_what_is_not_int8_has_a_reason(numbers: str, by: str, why: str) -> None:
    with pytest.raises(EdgelrError, match="reason"):
        OpGroup("CONV_2D", numbers, by, why, 1)  # type: ignore[arg-type]


def test_operators_alike_for_one_reason_are_one_group() -> None:
    rows = [OpRow("a", "Conv", "a", "int8"), OpRow("b", "Conv", "b", "float", "choice", "asked"), OpRow("c", "Conv", "c", "int8"),
            OpRow("d", "Conv", "d", "float", "necessity", "asked")]
    assert OpGroup.of(rows) == (OpGroup("Conv", "int8", "", "", 2), OpGroup("Conv", "float", "choice", "asked", 1),
                                OpGroup("Conv", "float", "necessity", "asked", 1))


def test_boundaries_are_told_with_the_operation_that_they_are_there_for() -> None:
    (hard_swish, head) = reasons(precise().artifacts[0].accounting)
    assert (hard_swish.count, hard_swish.by) == (8, "by choice")
    assert hard_swish.types == "3 DEQUANTIZE, 3 HARD_SWISH, 2 QUANTIZE"
    assert (head.count, head.numbers) == (1, "dynamic")


def test_the_parts_survive_writing_and_reading() -> None:
    report = precise()
    assert from_json(to_json(report)) == report
    data = json.loads(to_json(report))
    names = {"forms": Form, "sensitivity": Sensitivity, "reverted": Reverted}
    assert all(set(data[k][0]) == {f.name for f in dataclasses.fields(v)} for k, v in names.items())
    assert set(data["training"]) == {"method", "epochs", "samples", "seconds", "loss_first", "loss_last"}
    assert {"type", "numbers", "by", "why", "count"} == set(data["artifacts"][0]["accounting"][0])
    assert {"int8", "float", "other", "dynamic"} == set(data["artifacts"][0]["ops"])
    data["artifacts"][0]["accounting"][0]["count"] += 1
    with pytest.raises(BadInputError, match="can't be true"):
        from_json(json.dumps(data))


def test_a_report_of_before_is_still_read() -> None:
    data = json.loads(to_json(sample()))
    for key in ("forms", "sensitivity", "reverted", "training"):
        del data[key]
    for artifact in data["artifacts"]:
        del artifact["accounting"], artifact["ops"]["dynamic"]
    assert from_json(json.dumps(data)) == sample()


def test_sensitivities_are_sorted_worst_first() -> None:
    noise = [s.sqnr_db for s in precise().sensitivity]
    assert noise == [28.0, 32.0, 36.0, 40.0, 44.0, 52.0, 56.0, 60.0, None]
    assert Sensitivity("a", "Conv", math.inf, 1, False, "").sqnr_db is None


@pytest.mark.parametrize("tell", [lambda r: told(r, 160), page])
def test_both_tell_forms_sensitivities_training_and_what_went_back(tell: object) -> None:
    text = tell(precise())  # type: ignore[operator]
    for fact in ("8 float by choice", "1 dynamic by choice", "hard-swish is slower on integers than in float", "of 33",
                 "4 float of necessity", "fastest within 0.5 points", "33.9 dB", "0.279 ms", "no noise",
                 "--keep-float 'blocks.7.conv'", "28.0 dB", "1.25 → 0.50", "accuracy on validation, 500 samples",
                 "trained (QAT)", "5 epochs of 4,096 samples in 61 s", "loss 0.1234 → 0.04567",
                 "float 0.612 ms, dense int8 0.404 ms, compressed 0.279 ms"):
        assert fact in text, fact
    bare = tell(sample())  # type: ignore[operator]
    for absent in ("Forms", "integers cost", "--max-drop", "QAT", "None"):
        assert absent not in bare


def test_the_terminal_tells_the_five_worst_and_the_page_all() -> None:
    assert told(precise()).count("--keep-float 'blocks") == 4  # of the five worst one is in float
    assert "the 5 worst of 9" in told(precise())
    assert page(precise()).count("--keep-float 'blocks") == 8


@pytest.mark.parametrize("name", ["blocks.{}.conv", "backbone.features.stages.3.blocks.{}.attention.projection.conv2d_depthwise.weight"])
def test_the_terminal_keeps_to_80_columns(name: str) -> None:
    assert max(map(len, told(precise(names=name)).splitlines())) <= 80


def test_many_reasons_are_folded_on_the_terminal() -> None:
    groups = tuple(OpGroup("Pad", "float", "choice", f"reason {i}", 20 - i) for i in range(9))
    artifact = dataclasses.replace(sample().artifacts[0], ops=Ops(0, sum(20 - i for i in range(9)), 0), accounting=groups)
    text = told(sample(artifacts=(artifact,)))
    assert "reason 5" in text and "reason 6" not in text
    assert "39 more, for 3 other reasons" in text


def test_a_float_source_in_another_runtime_is_told_as_such() -> None:
    assert speeds(sample())[0] == "litert, 1 thread, measured: float 2.31 ms (torch, 1 thread), dense int8 0.404 ms, compressed 0.279 ms"
    alone = sample(dense=(), source=dataclasses.replace(sample().source, latency=()))
    assert speeds(alone) == []


def test_names_in_the_new_parts_are_text_and_nothing_else() -> None:
    bad = "<script>alert(1)</script>\x1b[2J"
    artifact = dataclasses.replace(precise().artifacts[0], accounting=(
        OpGroup(bad, "int8", "", bad, 24), OpGroup(bad, "float", "choice", bad, 8), OpGroup(bad, "dynamic", "choice", bad, 1)))
    report = precise(artifacts=(artifact,), forms=(Form(bad, bad, True, bad, 1),), reverted=(Reverted(bad, 1.0, 0.5, bad),),
                     sensitivity=(Sensitivity(bad, bad, 1.0, 1, False, bad),))
    assert "<script>" not in to_html(report) and "\x1b" not in to_html(report) + told(report)


@pytest.mark.parametrize("build", [
    lambda: Form("onnx", "int8", True, "", 1, math.nan), lambda: Reverted("a", math.inf, 0.0, ""),
    lambda: Training("qat", 1, 1, -1.0, 0.0, 0.0), lambda: Training("qat", 1, 1, 1.0, math.nan, 0.0),
    lambda: Sensitivity("a", "Conv", math.nan, 1, False, ""), lambda: OpGroup("Conv", "int8", "", "", 0)])
def test_what_can_not_be_true_is_refused(build: object) -> None:
    with pytest.raises(EdgelrError):
        build()  # type: ignore[operator]
