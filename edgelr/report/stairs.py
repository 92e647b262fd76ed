"""The stairs of a latency table, drawn: as text in 80 columns, and as a page that needs no other file."""
from __future__ import annotations

from html import escape

from edgelr.latency.stairs import Point, Stairs
from edgelr.report import words

_COLUMNS = 60
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 760, 360, 64, 44, 16


def to_text(stairs: Stairs, how: str) -> str:
    """A bar for each number of output channels; "o" at its end where the table has the row."""
    most = max(p.us for p in stairs.points) or 1.0
    lines = [words.printable(_title(stairs)), "output channels, us; o: a row of the table; |: a kernel's step begins", ""]
    before = 0
    for p in stairs.points:
        length = round(p.us / most * (_COLUMNS - 1))
        step = "|" if (p.channels - 1) // stairs.step != (before - 1) // stairs.step else " "
        lines.append(f"{p.channels:5}{step}{'#' * length}{'o' if p.row else '#'} {words.microseconds(p.us)}")
        before = p.channels
    return "\n".join([*lines, "", how])


def to_page(stairs: Stairs, how: str) -> str:
    """An HTML page with one drawing. Names from outside are escaped; equal stairs give equal text."""
    wide, high = stairs.points[-1].channels, max(p.us for p in stairs.points) or 1.0

    def x(channels: float) -> float:
        return round(_LEFT + (_WIDTH - _LEFT - 12) * channels / wide, 1)

    def y(us: float) -> float:
        return round(_HEIGHT - _BOTTOM - (_HEIGHT - _BOTTOM - _TOP) * us / high, 1)

    parts = [f'<path class="line" d="{_path(stairs.points, x, y)}"/>']
    for p in (p for p in stairs.points if p.row):
        told = f"{p.channels}: {words.microseconds(p.us)} us"
        parts.append(f'<circle class="row" cx="{x(p.channels)}" cy="{y(p.us)}" r="3.5"><title>{told}</title></circle>')
    ticks = range(0, wide + 1, max(stairs.step, wide // 8 // stairs.step * stairs.step))
    parts += [f'<text x="{x(t)}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{t}</text>' for t in ticks]
    for us in (high * i / 4 for i in range(5)):
        parts.append(f'<text x="{_LEFT - 8}" y="{y(us) + 4}" text-anchor="end">{words.microseconds(us)}</text>')
        parts.append(f'<path class="grid" d="M{_LEFT} {y(us)}H{_WIDTH - 12}"/>')
    parts.append(f'<text x="{(_LEFT + _WIDTH) // 2}" y="{_HEIGHT - 6}" text-anchor="middle">output channels</text>')
    title = escape(words.printable(_title(stairs)))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'\">\n"
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{title}: microseconds by output channels">{"".join(parts)}</svg>\n'
        f"<p>Microseconds by output channels. A dot is a row of the table; the line is what it prices between.</p>\n"
        f"<p>{escape(words.printable(how))}</p>\n</body>\n</html>\n"
    )


_STYLE = (
    "body{margin:2rem auto;max-width:50rem;padding:0 1rem;font:16px/1.5 system-ui,sans-serif;color:#1b1f24;background:#fff}"
    "h1{font-size:1.2rem}svg{width:100%}text{font-size:12px;fill:#5b6470}.line{fill:none;stroke:#1f5fbf;stroke-width:2}"
    ".row{fill:#1f5fbf}.grid{stroke:#d9dde3;fill:none}p{color:#5b6470}"
)


def _title(stairs: Stairs) -> str:
    return f"{stairs.family}: {', '.join(f'{value} {name}' for name, value in stairs.fixed.items())}"


def _path(points: tuple[Point, ...], x: object, y: object) -> str:
    assert callable(x) and callable(y)
    return "M" + "L".join(f"{x(p.channels)} {y(p.us)}" for p in points)
