"""The stairs of a family: how its time goes up with the output channels, which is how it goes up with the rank."""
from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from difflib import get_close_matches

from edgelr.errors import UsageError
from edgelr.latency.families import Family, family_of, place_of
from edgelr.latency.pricer import Pricer

_FEW = 6  # families that an error names


@dataclass(frozen=True)
class Point:
    """``row``: the table has it; else it is priced between rows or beyond them."""

    channels: int
    us: float
    row: bool


@dataclass(frozen=True)
class Stairs:
    """One line: all sizes but the output channels are fixed. ``fixed`` says them by name, ``step`` is the kernel's."""

    family: Family
    fixed: dict[str, int]
    step: int
    points: tuple[Point, ...]


def stairs(pricer: Pricer, name: str = "", most: int = 0) -> Stairs:
    """The line of a family (by its words, as "conv 3x3 int8") that has the most rows; the family with the longest line where none is named.

    ``most``: output channels to go to; 0: as far as the line's rows go. Raises UsageError for a family that the table doesn't have.
    """
    lines: Counter[tuple[Family, tuple[int, ...]]] = Counter()
    for operation in pricer.table.rows:
        family, place = family_of(operation), place_of(operation)
        if family.channels is not None and (not name or str(family) == " ".join(name.split())):
            lines[family, place[: family.channels] + place[family.channels + 1 :]] += 1
    if not lines:
        asked, known = name[:60], [str(f) for f in pricer.families if f.channels is not None]
        if " ".join(name.split()) in map(str, pricer.families):
            raise UsageError(f"'{asked}' has no stairs.", "it has no output channels.", f"one of {', '.join(known[:_FEW])} …")
        like = ", ".join(get_close_matches(asked, known, _FEW, 0.0))
        raise UsageError(f"The table has no '{asked}'.", f"most like it are {like}; it has {len(known)}.", "name one of these")
    (family, others), _ = min(lines.items(), key=lambda item: (-item[1], item[0]))
    at = family.channels
    assert at is not None
    rows = {place_of(o)[at]: o for o in pricer.table.rows if family_of(o) == family and _without(place_of(o), at) == others}
    step = pricer.table.head.steps.get(family.numbers, 1)
    end = most or max(rows)
    every = sorted({*(c for c in rows if c <= end), *range(step, end + 1, max(step, end // 64 // step * step))})
    surface = pricer.surface(family)
    points = []
    for c in every:
        us = pricer.price(rows[c]).us if c in rows else surface.us((*others[:at], c, *others[at:]))
        points.append(Point(c, us, c in rows))
    names = [n for n in family.sizes if n != "output channels"]
    return Stairs(family, dict(zip(names, others, strict=True)), step, tuple(points))


def _without(place: tuple[int, ...], at: int) -> tuple[int, ...]:
    return place[:at] + place[at + 1 :]
