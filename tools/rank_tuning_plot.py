"""The curves of bench_rank_tuning.py as a plain SVG: relative loss against compression factor, one panel for each network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, PANEL, LEFT, TOP, BOTTOM = 720, 260, 56, 34, 40
COLOURS = ("#8a6d3b", "#c0504d", "#2f6f4f", "#1f5fbf", "#7a4fa3", "#333333")
FACTORS = (1, 2, 4, 8, 14, 28, 56)
LOSS_MAX = 12.0

Curve = Sequence[tuple[float, float]]  # (factor, relative loss in %)


def drawing(title: str, panels: Mapping[str, Mapping[str, Curve]]) -> str:
    """``panels`` by the network's name, curves by theirs; a curve has the same colour everywhere."""
    names = list(dict.fromkeys(name for curves in panels.values() for name in curves))
    height = len(panels) * PANEL + TOP + 22 * len(names)
    parts = [f'<text x="{LEFT}" y="20" font-size="15">{escape(title)}</text>']
    for number, (panel, curves) in enumerate(panels.items()):
        parts += _panel(panel, curves, names, TOP + number * PANEL)
    for number, name in enumerate(names):
        y = TOP + len(panels) * PANEL + 22 * number
        parts.append(f'<path d="M{LEFT} {y}h24" stroke="{_colour(number)}" stroke-width="2"/>'
                     f'<text x="{LEFT + 32}" y="{y + 4}">{escape(name)}</text>')
    style = "text{font:13px system-ui,sans-serif;fill:#333}path{fill:none}"
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">'
            f'<style>{style}</style><rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>\n')


def _panel(title: str, curves: Mapping[str, Curve], names: Sequence[str], top: int) -> list[str]:
    high = PANEL - BOTTOM - 24

    def x(factor: float) -> float:
        share = math.log(max(factor, 1.0)) / math.log(FACTORS[-1])
        return round(LEFT + (WIDTH - LEFT - 20) * min(share, 1.0), 1)

    def y(loss: float) -> float:
        return round(top + 24 + high * (1 - (min(max(loss, -2.0), LOSS_MAX) + 2) / (LOSS_MAX + 2)), 1)

    parts = [f'<text x="{LEFT}" y="{top + 14}">{escape(title)}</text>']
    parts += [f'<path d="M{LEFT} {y(t)}H{WIDTH - 20}" stroke="{"#999" if t == 0 else "#e2e2e2"}"/>'
              f'<text x="{LEFT - 6}" y="{y(t) + 4}" text-anchor="end">{t} %</text>' for t in (-2, 0, 4, 8, 12)]
    parts.append(f'<path d="M{LEFT} {y(1.4)}H{WIDTH - 20}" stroke="#999" stroke-dasharray="4 4"/>')
    parts += [f'<path d="M{x(f)} {y(-2)}V{y(LOSS_MAX)}" stroke="{"#999" if f == 14 else "#e2e2e2"}"/>'
              f'<text x="{x(f)}" y="{y(-2) + 16}" text-anchor="middle">{f}x</text>' for f in FACTORS]
    for name, curve in curves.items():
        colour = _colour(names.index(name))
        points = [(x(f), y(loss)) for f, loss in curve]
        parts.append(f'<path d="M{"L".join(f"{a} {b}" for a, b in points)}" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{a}" cy="{b}" r="3" fill="{colour}"/>' for a, b in points]
    return parts


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]
