"""The figure of bench_spectrum.py as a plain SVG: singular values by their number, one panel for each layer, the target rank marked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, PANEL, LEFT, RIGHT, TOP, BOTTOM = 720, 230, 56, 20, 34, 36
COLOURS = ("#999999", "#8a6d3b", "#c0504d", "#1f5fbf", "#2f6f4f")
LOWEST = 1e-4  # of the largest singular value of a layer

Curves = Mapping[str, Sequence[float]]  # singular values, falling, by what the line is called


def drawing(title: str, panels: Mapping[str, Curves], ranks: Mapping[str, int]) -> str:
    """``panels`` and target ``ranks`` by the layer's name. Every line is relative to its own largest value, on a logarithmic axis."""
    names = list(dict.fromkeys(name for curves in panels.values() for name in curves))
    height = len(panels) * PANEL + TOP + 22 * len(names)
    parts = [f'<text x="{LEFT}" y="20" font-size="15">{escape(title)}</text>']
    for number, (layer, curves) in enumerate(panels.items()):
        parts += _panel(layer, curves, ranks[layer], names, TOP + number * PANEL)
    for number, name in enumerate(names):
        y = TOP + len(panels) * PANEL + 22 * number
        parts.append(f'<path d="M{LEFT} {y}h24" stroke="{_colour(number)}" stroke-width="2"/>')
        parts.append(f'<text x="{LEFT + 32}" y="{y + 4}">{escape(name)}</text>')
    style = "text{font:13px system-ui,sans-serif;fill:#333}path{fill:none}"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">'
    return f'{head}<style>{style}</style><rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>\n'


def _panel(layer: str, curves: Curves, rank: int, names: Sequence[str], top: int) -> list[str]:
    count = max(map(len, curves.values()))
    high = PANEL - BOTTOM - 24

    def x(number: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * (number - 1) / max(1, count - 1), 1)

    def y(share: float) -> float:
        return round(top + 24 + high * math.log(max(share, LOWEST)) / math.log(LOWEST), 1)

    parts = [f'<text x="{LEFT}" y="{top + 14}">{escape(layer)}, target rank {rank}</text>']
    for power in range(round(-math.log10(LOWEST)) + 1):
        at = y(10.0**-power)
        parts.append(f'<path d="M{LEFT} {at}H{WIDTH - RIGHT}" stroke="#e2e2e2"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{at + 4}" text-anchor="end">{10.0**-power:g}</text>')
    parts.append(f'<path d="M{x(rank + 0.5)} {y(1)}V{y(LOWEST)}" stroke="#333" stroke-dasharray="4 4"/>')
    for number in range(1, count + 1, max(1, count // 8)):
        parts.append(f'<text x="{x(number)}" y="{y(LOWEST) + 16}" text-anchor="middle">{number}</text>')
    for name, values in curves.items():
        points = "L".join(f"{x(i)} {y(v / values[0])}" for i, v in enumerate(values, 1))
        parts.append(f'<path d="M{points}" stroke="{_colour(names.index(name))}" stroke-width="1.8"/>')
    return parts


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]
