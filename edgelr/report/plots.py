"""Charts of points and lines as plain SVG: for a page, or as a file of their own. Equal charts give equal text."""
from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

from edgelr.report import words

WIDTH = 440  # in the drawing's own units: text of 13 is legible at a phone's width too
_LEFT, _RIGHT, _PLOT, _BOTTOM, _ROW = 60, 16, 260, 46, 20
_CHARACTER = 7.3  # a letter of a label, its halo shared out; widest of the usual system fonts
_TICKS = 6
_LOGARITHMIC = 3.0  # a range of this factor and more is drawn in equal factors


@dataclass(frozen=True)
class Mark:
    """A point: a short ``label`` beside it, "" for none, and the whole of what it says to who points at it or can't see it.

    ``chosen`` has a ring; what is ``apart`` is not joined to the line's others.
    """

    x: float
    y: float
    label: str
    told: str
    chosen: bool = False
    apart: bool = False


@dataclass(frozen=True)
class Line:
    """Marks joined in their order. "before" are grey squares, "after" blue circles; ``faint`` is dashed, its marks hollow."""

    name: str
    kind: Literal["before", "after"]
    marks: tuple[Mark, ...]
    faint: bool = False


@dataclass(frozen=True)
class Chart:
    """``unit`` is that of x: "bytes", or "ms"; y are fractions, told in %. ``described`` says in a sentence what there is to see."""

    title: str
    described: str
    x_name: str
    y_name: str
    unit: Literal["bytes", "ms"]
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Axis:
    """Where values come to lie between ``start`` and ``end``, and the values that are marked."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool
    ticks: tuple[float, ...]

    def __call__(self, value: float) -> float:
        if self.logarithmic:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return round(self.start + (self.end - self.start) * share, 1)


def axis(values: Iterable[float], start: float, end: float, *, factors: bool = False, share: bool = False) -> Axis:
    """An axis with some room around the values. ``factors``: in equal factors where they are far apart; ``share``: within [0, 1]."""
    known = list(values)
    low, high = min(known), max(known)
    if factors and low > 0 and high / low >= _LOGARITHMIC:
        room = (high / low) ** 0.08
        low, high = low / room, high * room
        return Axis(low, high, start, end, True, _factors(low, high))
    room = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
    low, high = max(low - room, 0.0), min(high + room, 1.0) if share else high + room
    step = _step((high - low) / _TICKS)
    first = math.ceil(low / step - 1e-9)
    return Axis(low, high, start, end, False, tuple(round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)))


def _step(least: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is no less."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= least * (1 - 1e-9))


def _factors(low: float, high: float) -> tuple[float, ...]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1, 2, 5), (1, 3), (1,)):
        ticks = tuple(m * 10.0**p for p in powers for m in steps if low <= m * 10.0**p <= high)
        if len(ticks) <= _TICKS:
            break
    return ticks


def svg(chart: Chart) -> str:
    """The chart for a page that has ``STYLE``. Names are escaped. It needs two marks or more."""
    return _drawing(chart, "")


def standalone(chart: Chart) -> str:
    """The chart as the text of an .svg file, which follows the reader's light or dark scheme."""
    return _drawing(chart, f"<style>{_COLOURS}{STYLE}</style>", ' xmlns="http://www.w3.org/2000/svg"') + "\n"


def _drawing(chart: Chart, style: str, namespace: str = "") -> str:
    marks = [m for line in chart.lines for m in line.marks]
    legend, rows = _legend(chart.lines)
    top = 8 + _ROW * rows
    x = axis((m.x for m in marks), _LEFT, WIDTH - _RIGHT, factors=True)
    y = axis((m.y for m in marks), top + _PLOT, top, share=True)
    height = top + _PLOT + _BOTTOM
    parts = [f'<rect class="paper" width="{WIDTH}" height="{height}"/>' if style else "", legend, *_scales(chart, x, y)]
    for line in chart.lines:
        path = "L".join(f"{x(m.x)} {y(m.y)}" for m in line.marks if not m.apart)
        parts.append(f'<path class="line {_class(line)}" d="M{path}"/>' if path else "")
    for line in chart.lines:
        parts += [_mark(line, m, x(m.x), y(m.y)) for m in line.marks]
    parts += _labels([(m, x(m.x), y(m.y)) for m in marks], top)
    told = escape(words.printable(chart.title)), escape(words.printable(chart.described))
    return (
        f'<svg{namespace} class="plot" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{told[0]}. {told[1]}">'
        f"<title>{told[0]}</title><desc>{told[1]}</desc>{style}{''.join(parts)}</svg>"
    )


def _class(line: Line) -> str:
    return line.kind + (" faint" if line.faint else "")


def _text(x: float, y: float, text: str, anchor: str = "middle", more: str = "") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}"{more}>{escape(words.printable(text))}</text>'


def _shape(line: Line, x: float, y: float, size: float, inside: str = "") -> str:
    if line.kind == "after":
        return f'<circle class="mark {_class(line)}" cx="{x}" cy="{y}" r="{size}">{inside}</circle>'
    corner = f'x="{round(x - size, 1)}" y="{round(y - size, 1)}" width="{2 * size}" height="{2 * size}"'
    return f'<rect class="mark {_class(line)}" {corner}>{inside}</rect>'


def _mark(line: Line, mark: Mark, x: float, y: float) -> str:
    told = f"<title>{escape(words.printable(mark.told))}</title>"
    ring = f'<circle class="ring" cx="{x}" cy="{y}" r="9"/>' if mark.chosen else ""
    return ring + _shape(line, x, y, 4.5, told)


def _legend(lines: Sequence[Line]) -> tuple[str, int]:
    """A sample and the name of each line, in as many rows as they take."""
    parts, at, row = [], float(_LEFT), 1
    for line in lines:
        wide = 34 + _CHARACTER * len(line.name)
        if at > _LEFT and at + wide > WIDTH - _RIGHT:
            at, row = float(_LEFT), row + 1
        y = _ROW * row - 6
        parts.append(f'<path class="line {_class(line)}" d="M{at} {y}H{at + 22}"/>{_shape(line, at + 11, y, 4.5)}')
        parts.append(_text(round(at + 27, 1), y + 4, line.name, "start"))
        at += wide + 8
    return "".join(parts), row


def _scales(chart: Chart, x: Axis, y: Axis) -> list[str]:
    low = y.start
    parts = [f'<path class="grid" d="M{_LEFT} {y(t)}H{WIDTH - _RIGHT}"/>' + _text(_LEFT - 7, y(t) + 4, _percent(t), "end") for t in y.ticks]
    parts += [f'<path class="grid" d="M{x(t)} {low}V{y.end}"/>' + _text(x(t), low + 17, _amount(t, chart.unit)) for t in x.ticks]
    parts.append(_text(round((x.start + x.end) / 2, 1), low + 38, chart.x_name))
    middle = round((y.start + y.end) / 2, 1)
    return [*parts, _text(12, middle, chart.y_name, more=f' transform="rotate(-90 12 {middle})"')]


def _amount(value: float, unit: str) -> str:
    if unit != "bytes":
        return f"{value:g} {unit}"
    size, name = next((size, name) for size, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "KB"), (1.0, "B")) if value >= size or size == 1.0)
    return f"{value / size:g} {name}"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


Box = tuple[float, float, float, float]


def _labels(marks: Sequence[tuple[Mark, float, float]], top: float) -> list[str]:
    """Labels beside their marks, below to the right first, where a rising curve isn't. One that would cover a mark or a label is left out:
    its mark still tells it.
    """
    taken: list[Box] = [(x - 6, y - 6, x + 6, y + 6) for _, x, y in marks]
    parts = []
    for mark, x, y in sorted(marks, key=lambda m: not m[0].chosen):
        wide = _CHARACTER * len(mark.label)
        beside = 12 if mark.chosen else 9
        places: tuple[tuple[float, float, str], ...] = (
            (x + beside, y + 18, "start"), (x, y - beside - 1, "middle"), (x + beside, y + 4, "start"), (x, y + beside + 10, "middle"),
            (x - beside, y + 4, "end"), (x - beside, y - 11, "end"), (x + beside, y + 32, "start"),
        )  # fmt: skip
        for at, base, anchor in places:
            left = at - {"start": 0.0, "middle": wide / 2, "end": wide}[anchor]
            box = (left - 2, base - 11, left + wide + 2, base + 3)
            inside = box[0] >= _LEFT and box[2] <= WIDTH - 2 and box[1] >= top - 8 and box[3] <= top + _PLOT
            if mark.label and inside and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                parts.append(_text(round(at, 1), round(base, 1), mark.label, anchor, ' class="label"'))
                break
    return parts


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


_COLOURS = (  # those of a page that plots stand in
    ":root{--ink:#1b1f24;--dim:#5b6470;--paper:#fff;--line:#d9dde3;--good:#0a6b3d;--after:#1f5fbf;color-scheme:light dark}"
    "@media (prefers-color-scheme:dark){:root{--ink:#e8eaed;--dim:#a0a8b3;--paper:#15181c;--line:#343a42;--good:#5fd39a;--after:#7fb0ff}}"
)
STYLE = (
    ".plot{--grey:#6b7685;display:block;width:100%;height:auto}@media (prefers-color-scheme:dark){.plot{--grey:#98a3b3}}"
    ".plot text{font:13px system-ui,sans-serif;fill:var(--dim)}.plot .paper{fill:var(--paper)}"
    ".plot .label{fill:var(--ink);font-size:12px;stroke:var(--paper);stroke-width:3px;paint-order:stroke}"
    ".plot .grid{stroke:var(--line);fill:none}.plot .before{stroke:var(--grey)}.plot .after{stroke:var(--after)}"
    ".plot .line{fill:none;stroke-width:2}.plot .line.faint{stroke-dasharray:5 4}.plot .mark{stroke-width:2}"
    ".plot .mark.before{fill:var(--grey)}.plot .mark.after{fill:var(--after)}.plot .mark.faint{fill:var(--paper)}"
    ".plot .ring{fill:none;stroke:var(--good);stroke-width:2.5}"
)
