"""report.html: the whole report on one page that needs no network, no script and no other file."""
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from edgelr.report import frontier_told, numbers, plots, words
from edgelr.report.contents import Report

_WIDTH = 100.0  # of a bar's drawing, in its own units


@dataclass(frozen=True)
class Bar:
    """One bar: its length in [0, 100], how it is filled, and what it says to a reader who can't see it."""

    length: float
    fill: str  # "before" or "after"
    label: str


def to_html(report: Report) -> str:
    """The text of report.html. Names from outside are escaped; equal reports give equal text."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["text"] = words.printable
    return environment.get_template("page.html.j2").render(
        report=report,
        words=words,
        numbers=numbers,
        told=frontier_told,
        plot_style=plots.STYLE,
        savings=words.savings(report),
        factorised=len(words.factorised(report.layers)),
        layer_bars=_layer_bars(report),
        round_bars=_round_bars(report),
    )


def _length(value: float | None, longest: float) -> float:
    return round(_WIDTH * min(max(value or 0.0, 0.0) / longest, 1.0), 1) if longest > 0 else 0.0


def _longest(values: Iterable[float | None]) -> float:
    return max((v for v in values if v is not None), default=0.0)


def _layer_bars(report: Report) -> list[tuple[Bar, Bar] | None]:
    """For each layer its dense and its chosen latency, all on one scale; None where neither is known."""
    known = [line.latency_us for line in report.layers if line.latency_us]
    longest = _longest(v for us in known for v in (us.dense, us.chosen))
    bars: list[tuple[Bar, Bar] | None] = []
    for line in report.layers:
        us = line.latency_us
        if us is None or (us.dense is None and us.chosen is None):
            bars.append(None)
            continue
        dense = Bar(_length(us.dense, longest), "before", f"dense {words.microseconds(us.dense)}")
        bars.append((dense, Bar(_length(us.chosen, longest), "after", f"now {words.microseconds(us.chosen)}")))
    return bars


def _round_bars(report: Report) -> list[tuple[Bar, Bar]]:
    """For each round of pricing what was predicted and what was measured, on one scale."""
    longest = _longest(v for r in report.rounds for v in (r.predicted_ms, r.measured_ms))
    return [
        (
            Bar(_length(r.predicted_ms, longest), "before", f"predicted {r.predicted_ms:.3f} ms"),
            Bar(_length(r.measured_ms, longest), "after", f"measured {r.measured_ms:.3f} ms"),
        )
        for r in report.rounds
    ]
