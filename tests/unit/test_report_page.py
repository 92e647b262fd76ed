"""report.html: one offline file that no name can break out of, and that tells what the report holds."""
from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser

import pytest
from report_sample import sample

from edgelr.report import LayerLatency
from edgelr.report.page import to_html

VOID = {"meta", "br", "rect", "!doctype"}
HOSTILE = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "'><svg onload=a()>", "{{ 7 * 7 }}", "a\x1b[31mb\x00c\u202ed"]


class Page(HTMLParser):
    """The page as a reader's program sees it: tags, attributes, text; every tag is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data


@pytest.mark.parametrize("name", HOSTILE)
def test_names_from_outside_are_text_and_nothing_else(name: str) -> None:
    plain, report = sample(), sample(4, names=name)
    line = dataclasses.replace(report.layers[0], why=name, kind=name, scheme=name)
    artifact = dataclasses.replace(report.artifacts[0], path=name, reference=name)
    hostile = dataclasses.replace(
        report, layers=(line,), artifacts=(artifact,), warnings=(name,), command=name, versions={name: name}, seconds={name: 1.0},
        model=dataclasses.replace(report.model, name=name), target=dataclasses.replace(report.target, name=name, runtime=name, device=name),
    )  # fmt: skip
    text = to_html(hostile)
    page = Page(text)
    assert set(page.tags) <= set(Page(to_html(plain)).tags)
    assert not [a for a, _ in page.attributes if a.startswith("on") or a in {"src", "href"}]
    assert not re.search(r"[\x00-\x08\x0b-\x1f\u202a-\u202e]", text)
    if name.isprintable():
        assert name in page.text


def test_the_page_asks_nothing_of_the_network() -> None:
    text = to_html(sample())
    page = Page(text)
    assert not {"script", "link", "img", "iframe", "object", "embed", "base", "form", "image", "use"} & set(page.tags)
    assert not re.search(r"//|url\(|@import|@font-face", text)
    policy = [value for name, value in page.attributes if name == "content" and "default-src" in value]
    assert policy
    assert policy[0].startswith("default-src 'none'")
    assert "script-src" not in policy[0]


def test_five_hundred_layers_stay_under_a_megabyte() -> None:
    text = to_html(sample(500, names="backbone.stages.3.blocks.{}.attention.projection.conv2d"))
    assert len(text.encode()) < 1_000_000
    assert text.count("<tr") > 500


def test_the_page_tells_what_the_report_holds() -> None:
    report = sample()
    text = Page(to_html(report)).text
    for line in report.layers:
        assert line.name in text
        assert line.why in text
    for artifact in report.artifacts:
        assert artifact.sha256 in text
        assert f"{artifact.bytes:,} bytes" in text
    for told in ("70%ms", "not met", "0.279 ms", "limit 0.283 ms", "91.70 %", "−0.72", "bit for bit", "44.1 dB", report.warnings[0]):  # noqa: RUF001
        assert told in text
    for label in ("measured", "predicted", "simulated", "counted"):
        assert label in text
    assert "Not every budget is met." in text
    assert "Every budget is met." in to_html(sample(budgets=report.budgets[:2]))


def test_bars_are_in_proportion_to_what_they_show() -> None:
    report = sample(2)
    layers = (
        dataclasses.replace(report.layers[0], latency_us=LayerLatency(40.0, 10.0, "measured")),
        dataclasses.replace(report.layers[1], latency_us=LayerLatency(20.0, -1.0, "measured")),
    )
    text = to_html(dataclasses.replace(report, layers=layers, rounds=()))
    assert re.findall(r'<rect class="\w+" y="\d+" width="([\d.]+)"', text) == ["100.0", "25.0", "50.0", "0.0"]
    assert 'aria-label="dense 40.0, now 10.0"' in text


def test_layers_known_in_different_ways_are_each_labelled() -> None:
    report = sample(2)
    predicted = dataclasses.replace(report.layers[1], latency_us=LayerLatency(20.0, 10.0, "predicted"))
    alike, mixed = to_html(report), to_html(dataclasses.replace(report, layers=(report.layers[0], predicted)))
    assert alike.count('class="how predicted"') == 1  # in the legend
    assert mixed.count('class="how predicted"') == 2


def test_what_is_not_known_is_said() -> None:
    report = sample(1)
    bare = dataclasses.replace(
        report, budgets=(), rounds=(), warnings=(), command="", search=None, dense=(),
        source=dataclasses.replace(report.source, score=None, latency=(), macs=None),
        layers=(dataclasses.replace(report.layers[0], latency_us=None, macs=None),),
        artifacts=(dataclasses.replace(report.artifacts[0], latency=(), score=None, agreement=None, sqnr_db=None),),
    )  # fmt: skip
    text = Page(to_html(bare)).text
    assert "No budget was asked for." in text
    assert text.count("not measured") >= 5
    assert "not known" in text
    assert "None" not in text
    Page(to_html(dataclasses.replace(bare, layers=(), artifacts=(), stages=())))


def test_equal_reports_give_equal_pages() -> None:
    assert to_html(sample()) == to_html(sample())
