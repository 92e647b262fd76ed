"""A made-up device for tests of latency tables: its times follow a kernel with steps, and are known exactly."""
from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import ceil, prod

from edgelr.latency.families import place_of
from edgelr.latency.operation import Operation
from edgelr.latency.table import Head, Row, Table

STEP = 8
HEAD = Head(
    "raspberry-pi-4", "litert", "2.3.0", "cortex-a72", 1, "measured", "a made-up board", "2026-11-22", 0.1, "made up",
    steps={"int8": STEP, "float": STEP},
)  # fmt: skip


def conv(side: int, c_in: int, c_out: int, kernel: int = 3, numbers: str = "int8") -> Operation:
    return Operation("conv", numbers, ((1, side, side, c_in),), (1, side, side, c_out), (kernel, kernel))  # type: ignore[arg-type]


def add(side: int, channels: int) -> Operation:
    shape = (1, side, side, channels)
    return Operation("add", "int8", (shape, shape), shape)


def us(operation: Operation) -> float:
    """2 us, 1 ns for each number that is read, and 0.1 ns for each product of output channels rounded up to the kernel's step."""
    place = place_of(operation)
    if operation.op != "conv":
        return 1.0 + 0.4e-3 * prod(place)
    pixels, depth, channels = place
    return 2.0 + 1e-3 * pixels * depth / 9 + 0.1e-3 * pixels * depth * ceil(channels / STEP) * STEP


def table(operations: Iterable[Operation]) -> Table:
    return Table(HEAD, {o: Row(o, us(o), 0.01, 50) for o in operations})


def grid(kernel: int = 3) -> list[Operation]:
    sides, channels = (7, 14, 28, 56), (16, 32, 64, 128)
    places = [(a, b, c) for a in range(4) for b in range(4) for c in range(4) if (a + b + c) % 2 == 0 or (a, b, c) == (3, 3, 3)]
    return [conv(sides[a], channels[b], channels[c] if c else 8, kernel) for a, b, c in places]


class Board:
    """A source of rows that can lose its link after so many."""

    def __init__(self, lasts: int = 10**9, failing: frozenset[Operation] = frozenset()) -> None:
        self.lasts, self.failing, self.asked = lasts, failing, list[Operation]()
        self.call_us = 3.0

    def rows(self, operations: Iterable[Operation]) -> Iterator[Row]:
        for operation in operations:
            if len(self.asked) >= self.lasts:
                raise ConnectionError("the link is lost")
            self.asked.append(operation)
            if operation not in self.failing:
                yield Row(operation, us(operation), 0.01, 50)
