"""What an operation costs by a latency table: its own row, between rows, beyond them, or by a family that is like it."""
from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from math import exp, log, prod
from statistics import fmean
from typing import Literal

from edgelr.errors import BadInputError
from edgelr.latency.clamps import clamp_us, clamped
from edgelr.latency.families import Family, family_of, place_of
from edgelr.latency.operation import Operation
from edgelr.latency.surface import Surface
from edgelr.latency.table import Row, Table

Basis = Literal["row", "between", "beyond", "unlike"]
LEAST_US = 0.2
_DOUBT = 0.1
UNLIKE_ERROR = 0.5  # at least this is to be expected of a price that another kind of operation gave


@dataclass(frozen=True)
class Price:
    """Microseconds inside a network. ``basis``: "row", the table has this operation; "between" rows of its family; "beyond" them, by more
    than a kernel's step or a tenth; "unlike", the family has no row and the nearest other one gave the price.

    ``error`` is the relative error to expect against what the table would hold for it: half of the row's interval, or what the family's
    rows are off by when they are left out.
    """

    us: float
    basis: Basis
    error: float


class Pricer:
    """Prices operations by one table. Surfaces are fitted when a family is first asked for; prices are kept.

    Within a family, on the kernel's step, a price is never lower where a size is larger: rows that say otherwise are smoothed.
    """

    def __init__(self, table: Table) -> None:
        if not table.rows:
            raise BadInputError("The latency table has no rows.", "nothing can be priced by it.", "build it: edgelr table build")
        self.table = table
        self._floor_us = max(LEAST_US, table.head.call_us / 4)  # calls differ by so much from one another, and one is taken off each row
        self._clamp_us = clamp_us(table.rows)
        self._rows: dict[Family, list[Row]] = defaultdict(list)
        for row in sorted(table.rows.values(), key=lambda r: r.operation):
            self._rows[family_of(row.operation)].append(row)
        self._surfaces: dict[Family, tuple[Surface, dict[tuple[int, ...], float]]] = {}
        self._prices: dict[Operation, Price] = {}
        self._dearer: dict[Family, list[tuple[tuple[int, ...], float]]] = {}
        self._nearest: dict[Family, Family | None] = {}

    @property
    def families(self) -> tuple[Family, ...]:
        """The families that the table has rows of."""
        return tuple(sorted(self._rows))

    def price(self, operation: Operation) -> Price:
        """What the operation costs inside a network, and how that is known."""
        if operation not in self._prices:
            self._prices[operation] = self._price(operation)
        return self._prices[operation]

    def surface(self, family: Family) -> Surface:
        """The family's times as a function of its sizes. Raises KeyError for a family without rows."""
        return self._fitted(family)[0]

    def left_out(self, family: Family) -> dict[tuple[int, ...], float]:
        """For each place of a family's rows how far off the other rows would price it, as a share."""
        surface, places = self._fitted(family)
        return dict(zip(places, surface.left_out, strict=True))

    def smoothed(self) -> dict[Operation, float]:
        """By how many us a price differs from its own row, because a larger operation of the family is cheaper; beyond 1 % alone."""
        moved = [(r, self._smoothing(f, r.operation)) for f, rows in self._rows.items() for r in rows]
        return {r.operation: us for r, us in sorted(moved, key=lambda m: m[0].operation) if abs(us) > 0.01 * (r.us + self._floor_us)}

    def _fitted(self, family: Family) -> tuple[Surface, dict[tuple[int, ...], float]]:
        """A family's surface, and by how many us the rows at each place were smoothed."""
        if family not in self._surfaces:
            # Off the kernel's step a time may be higher than on it: such rows price themselves, and don't bend the surface.
            step, channels = self.table.head.steps.get(family.numbers, 1), family.channels
            places = [(place_of(r.operation), self._plain_us(r)) for r in self._rows[family]] if family in self._rows else []
            if not places:
                raise KeyError(family)
            on_step = [(p, us) for p, us in places if channels is None or p[channels] % step == 0] or places
            times: dict[tuple[int, ...], list[float]] = defaultdict(list)
            for place, us in on_step:
                times[place].append(us)
            means = [fmean(us) for us in times.values()]
            surface = Surface(list(times), means, step=step, stepped=channels, tiled=family.tiled, floor_us=self._floor_us)
            self._surfaces[family] = surface, dict(zip(times, surface.smoothing, strict=True))
        return self._surfaces[family]

    def _smoothing(self, family: Family, operation: Operation) -> float:
        return self._fitted(family)[1].get(place_of(operation), 0.0)

    def _price(self, operation: Operation) -> Price:
        family, place = family_of(operation), place_of(operation)
        row = self.table.rows.get(operation)
        if row is not None:
            return Price(max(row.us + self._smoothing(family, operation), 0.0), "row", row.half_width)
        if family in self._rows:
            surface = self.surface(family)
            us = surface.us(place) * self._off_step(family, place) + self._clamping_us(operation)
            return Price(us, "between" if surface.within(place) else "beyond", surface.error)
        other = self._like(family)
        if other is None:
            return Price(self._by_work(operation), "unlike", 2 * UNLIKE_ERROR)
        surface = self.surface(other)
        return Price(surface.us(place) + self._clamping_us(operation), "unlike", max(UNLIKE_ERROR, surface.error))

    def _clamping_us(self, operation: Operation) -> float:
        return self._clamp_us * prod(operation.output) if clamped(operation) else 0.0

    def _plain_us(self, row: Row) -> float:
        """Without what clamping costs: a surface is of operations that don't."""
        return max(row.us - self._clamping_us(row.operation), 0.0)

    def _off_step(self, family: Family, place: tuple[int, ...]) -> float:
        """By how much output channels off the kernel's step are dearer than the next step: as rows off it say, the nearest ones most.

        Below one step apart from above it: a kernel may have another way for what doesn't fill it once (ONNX Runtime on x86-64 takes
        twice as long for 8 channels of an int8 convolution as for 16, and the same for 24 as for 32).
        """
        step, at = self.table.head.steps.get(family.numbers, 1), family.channels
        if at is None or place[at] % step == 0:
            return 1.0
        if family not in self._dearer:
            surface = self.surface(family)
            off = [(p, self._plain_us(r)) for r in self._rows[family] if (p := place_of(r.operation))[at] % step]
            self._dearer[family] = [(p, log((us + self._floor_us) / (surface.us(p) + self._floor_us))) for p, us in off]
        like = [(p, dearer) for p, dearer in self._dearer[family] if (p[at] < step) == (place[at] < step)]
        nearness = [1 / (1 + sum(log(a / b) ** 2 for a, b in zip(p, place, strict=True))) for p, _ in like]
        # Where no row is near, the price stays that of the step.
        return exp(sum(n * dearer for n, (_, dearer) in zip(nearness, like, strict=True)) / (sum(nearness) + _DOUBT))

    def _like(self, family: Family) -> Family | None:
        """The family with the same sizes that differs least: in detail before stride, kernel, operation and numbers."""
        if family not in self._nearest:
            alike = [f for f in self._rows if f.sizes == family.sizes]
            self._nearest[family] = min(alike, key=lambda f: (_unlikeness(family, f), f), default=None)
        return self._nearest[family]

    def _by_work(self, operation: Operation) -> float:
        """Nothing has these sizes: the table's own median of time for work, of the same numbers where there are any."""
        rows = [r for r in self.table.rows.values() if r.operation.numbers == operation.numbers] or list(self.table.rows.values())
        rates = sorted(r.us / prod(place_of(r.operation)) for r in rows)
        return rates[len(rates) // 2] * prod(place_of(operation))


def _unlikeness(a: Family, b: Family) -> float:
    area = abs(prod(a.kernel) - prod(b.kernel)) / max(prod(a.kernel), prod(b.kernel))
    return (
        8.0 * (a.numbers != b.numbers) + 4.0 * (a.op != b.op) + 2.0 * area + 0.5 * (a.kernel != b.kernel) + 1.0 * (a.stride != b.stride)
        + 0.5 * (a.activation != b.activation) + 0.25 * (a.detail != b.detail)
    )  # fmt: skip
