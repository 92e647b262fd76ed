"""A run among other budgets: what a frontier may hold, how it is drawn and told, and that no name breaks out of a drawing."""
from __future__ import annotations

import dataclasses
import io
import itertools
import json
import re
import xml.etree.ElementTree as ET

import pytest
from report_sample import frontier, sample
from rich.console import Console

from edgelr.errors import BadInputError, EdgelrError
from edgelr.report import FrontierPoint, RankChange, Report, TrainingStage, from_json, to_json
from edgelr.report.frontier_told import frontiers
from edgelr.report.page import to_html
from edgelr.report.plots import Chart, Line, Mark, axis, standalone, svg
from edgelr.report.terminal import show
from edgelr.vocabulary import Score

SVG = "{http://www.w3.org/2000/svg}"


def told(report: Report, width: int = 80) -> str:
    out = io.StringIO()
    show(report, Console(file=out, width=width))
    return out.getvalue()


def chart(*marks: Mark, unit: str = "bytes", name: str = "int8") -> Chart:
    return Chart("accuracy by bytes", "what there is", "bytes", "accuracy", unit, (Line(name, "after", marks),))  # type: ignore[arg-type]


def drawn(made: Chart) -> ET.Element:
    return ET.fromstring(standalone(made))  # noqa: S314 (our own text above)


def texts(root: ET.Element) -> list[str]:
    return [t.text or "" for t in root.iter(f"{SVG}text")]


def test_a_frontier_survives_writing_and_reading() -> None:
    report = sample(frontier=frontier())
    assert from_json(to_json(report)) == report
    point = json.loads(to_json(report))["frontier"][0]
    assert {"plan", "numbers", "format", "bytes", "score", "score_how", "latency", "cost", "trained"} == set(point)
    assert "frontier" not in set(json.loads(to_json(sample()))) or from_json(to_json(sample())).frontier == ()


def test_points_scored_on_different_samples_are_refused() -> None:
    one, two = frontier()[:2]
    for change in ({"n": 10}, {"split": "test"}, {"metric": "agreement"}):
        with pytest.raises(EdgelrError, match="different samples"):
            sample(frontier=(one, dataclasses.replace(two, score=dataclasses.replace(two.score, **change))))
    data = json.loads(to_json(sample(frontier=(one, two))))
    data["frontier"][0]["score"]["split"] = "test"
    with pytest.raises(BadInputError, match="can't be true"):
        from_json(json.dumps(data))


def test_a_point_has_bytes() -> None:
    with pytest.raises(EdgelrError):
        dataclasses.replace(frontier()[0], bytes=0)


def test_marks_lie_where_their_values_are() -> None:
    """Equal factors of bytes are equal ways, equal differences of accuracy too, and better is higher."""
    root = drawn(chart(Mark(1e4, 0.5, "a", "A"), Mark(1e5, 0.7, "b", "B"), Mark(1e6, 0.9, "c", "C")))
    marks = [c for c in root.iter(f"{SVG}circle") if c.find(f"{SVG}title") is not None]
    x, y = ([float(m.attrib[k]) for m in marks] for k in ("cx", "cy"))
    assert x[1] - x[0] == pytest.approx(x[2] - x[1], abs=0.2) and x[0] < x[1]
    assert y[0] - y[1] == pytest.approx(y[1] - y[2], abs=0.2) and y[0] > y[1]
    assert [m.findtext(f"{SVG}title") for m in marks] == ["A", "B", "C"]


@pytest.mark.parametrize("values", [(0.0, 0.0), (1.0, 1.0), (0.5, 0.5), (1e-6, 1.0), (0.0, 1.0), (0.8731, 0.8732)])
@pytest.mark.parametrize("factors", [False, True])
def test_an_axis_holds_its_values_and_has_marks_of_its_own(values: tuple[float, float], factors: bool) -> None:
    made = axis(values, 0.0, 100.0, factors=factors, share=True)
    assert all(0 <= made(v) <= 100 for v in values)
    assert 1 <= len(made.ticks) <= 9 and all(made.low <= t <= made.high for t in made.ticks)
    assert 0 <= made.low < made.high <= 1 or factors


def test_ticks_are_round_and_tell_their_unit() -> None:
    found = texts(drawn(chart(Mark(74_000, 0.48, "", ""), Mark(1_100_000, 0.873, "", ""))))
    assert {"100 KB", "1 MB", "60 %", "80 %"} <= set(found)
    assert "0.2 ms" in texts(drawn(chart(Mark(0.15, 0.5, "", ""), Mark(1.2, 0.8, "", ""), unit="ms")))


def test_labels_never_cover_each_other() -> None:
    """Twenty marks in one spot: those without room keep silent, and each still has its title."""
    root = drawn(chart(*(Mark(1e5 + i, 0.8, f"label {i}", f"told {i}") for i in range(20)), Mark(1e6, 0.2, "far", "far")))
    labels = [t for t in root.iter(f"{SVG}text") if t.get("class") == "label"]
    assert 1 < len(labels) < 12
    assert len(list(root.iter(f"{SVG}title"))) == 22  # the drawing's own, and one a mark

    def box(t: ET.Element) -> tuple[float, float, float]:
        wide = 6.0 * len(t.text or "")
        return float(t.attrib["x"]) - wide * {"start": 0, "middle": 0.5, "end": 1}[t.attrib["text-anchor"]], wide, float(t.attrib["y"])

    for (left, wide, base), (other, also, at) in itertools.combinations(map(box, labels), 2):
        assert left + wide <= other or other + also <= left or abs(base - at) >= 12


def test_the_result_has_a_ring_and_is_labelled_before_others() -> None:
    root = drawn(chart(Mark(1e5, 0.8, "50%", ""), Mark(1.001e5, 0.8, "compressed", "", chosen=True), Mark(1e6, 0.9, "dense", "")))
    assert "compressed" in texts(root)
    assert [c.get("class") for c in root.iter(f"{SVG}circle")].count("ring") == 1


def test_what_was_trained_is_not_joined_to_what_was_not() -> None:
    path = next(p for p in drawn(chart(Mark(1, 0.1, "", ""), Mark(2, 0.9, "", "", apart=True), Mark(3, 0.2, "", ""))).iter(f"{SVG}path")
                if p.get("class") == "line after" and "L" in p.attrib["d"])
    assert path.attrib["d"].count("L") == 1


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "]]></svg>", "a\x1b[2Jb\u202e"])
def test_no_name_breaks_out_of_a_drawing(name: str) -> None:
    made = Chart(name, name, name, name, "bytes", (Line(name, "before", (Mark(1, 0.1, name, name), Mark(2, 0.2, name, name))),))
    root = drawn(made)
    assert {e.tag.removeprefix(SVG) for e in root.iter()} <= {"svg", "title", "desc", "style", "rect", "path", "text", "circle"}
    assert "\x1b" not in svg(made) and "\u202e" not in svg(made)
    assert not re.search(r"<script|<img", svg(made))


def test_a_drawing_tells_what_it_shows_to_who_can_t_see_it() -> None:
    text = svg(chart(Mark(1, 0.1, "", ""), Mark(2, 0.2, "", "")))
    assert 'role="img"' in text and "<title>accuracy by bytes</title><desc>what there is</desc>" in text
    assert "xmlns" not in text and "//" not in text  # on a page it needs none, and names no address


def test_the_page_has_two_charts_and_a_table_for_each_format() -> None:
    text = to_html(sample(frontier=frontier()))
    assert text.count('class="plot"') == 4
    assert "Other budgets" in text and "50 % of dense size" in text and "compressed, trained" in text
    assert "1,000 validation samples, which the choice was made on" in text and "were not trained, as the result was" in text
    assert "304,000" in text and "0.400 ms" in text
    assert "prefers-color-scheme:dark" in text
    assert "Other budgets" not in to_html(sample()) and "plot" not in re.sub(r"(?s)<style>.*?</style>", "", to_html(sample()))


def test_a_frontier_without_times_has_one_chart_and_one_of_a_single_plan_has_none() -> None:
    untimed = tuple(dataclasses.replace(p, latency=None) for p in frontier(("onnx",)))
    assert [len(f.charts) for f in frontiers(sample(frontier=untimed))] == [1]
    assert frontiers(sample(frontier=frontier(("onnx",))[:2])) == []


def test_the_terminal_tells_a_line_for_each_format() -> None:
    text = told(sample(frontier=frontier()), 300)
    (line,) = (x for x in text.splitlines() if ".tflite, int8" in x)
    assert "accuracy on 1,000 validation samples: dense 304 KB 87.10 %, 75% 228 KB 86.90 %, compressed 158 KB 85.90 %" in line
    assert max(map(len, told(sample(frontier=frontier())).splitlines())) <= 80
    assert "Other budgets" not in told(sample())


STAGES = (
    TrainingStage("training at full rank", "lc", "auto: a latency budget of 40 %", 10, 45_000, 812.4, 0.41, 0.12,
                  Score("accuracy", 0.871, 5000, "validation"), Score("accuracy", 0.874, 5000, "validation"),
                  (RankChange("stages.1.conv1", "channel r16", "channel r8"),), 0.05),
    TrainingStage("fine-tuning", "finetune", "", 1, 45_000, 300.0),
)  # fmt: skip


@pytest.mark.parametrize("tell", [lambda r: told(r, 200), lambda r: re.sub(r"<[^>]+>", "", to_html(r))])
def test_every_training_is_told_in_order(tell: object) -> None:
    text = tell(sample(training_stages=STAGES))  # type: ignore[operator]
    for fact in ("trained (lc, finetune)", "Training at full rank (lc)", "10 epochs of 45,000 samples in 812 s; loss 0.41 → 0.12",
                 "; learning rate 0.05",
                 "87.10 % → 87.40 % accuracy, validation, n = 5,000 (+0.30 points)", "why: auto: a latency budget of 40 %",
                 "changed the choice of 1 layer: stages.1.conv1 channel r16 → channel r8", "1 epoch of 45,000 samples in 300 s"):
        assert fact in text, fact
    assert text.index("Training at full rank") < text.index("Fine-tuning") and "None" not in text


def test_trainings_survive_writing_and_reading_and_qat_is_told_once() -> None:
    from edgelr.report import Training

    qat = Training("qat", 5, 4_096, 61.4, 0.1234, 0.04567)
    report = sample(training_stages=STAGES, training=qat)
    assert from_json(to_json(report)) == report
    assert "trained (lc, finetune, QAT)" in told(report, 200) and told(report, 200).count("4,096 samples") == 1
    both = sample(training_stages=(*STAGES, TrainingStage("training on the integer grid", "qat", "", 5, 4_096, 61.4)), training=qat)
    assert told(both, 200).count("4,096 samples") == 1


def test_a_training_that_can_not_be_true_is_refused() -> None:
    for change in ({"recipe": ""}, {"epochs": -1}, {"seconds": -1.0}, {"loss_last": float("nan")},
                   {"score_after": Score("accuracy", 87.0, 1, "validation")}):
        with pytest.raises(EdgelrError):
            dataclasses.replace(STAGES[0], **change)  # type: ignore[arg-type]


def test_a_frontier_of_float_alone_is_told() -> None:
    only = tuple(p for p in frontier(("onnx",)) if p.numbers == "float")
    assert "dense 1.10 MB" in told(sample(frontier=only), 200)
    assert isinstance(only[0], FrontierPoint)
