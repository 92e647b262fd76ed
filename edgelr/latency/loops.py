"""A recurrent layer's loop over its steps, as the key of a latency table tells it: turns, products, and what a turn takes."""
from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import reduce
from math import gcd

from edgelr.graph.ops.recurrent_tflite import steps_of_turn
from edgelr.latency.operation import Operation, Shape
from edgelr.vocabulary import Format, Numbers

Product = tuple[int, int]  # of one row with a stored matrix: inputs and outputs


@dataclass(frozen=True)
class Turns:
    """How often a loop turns, and its ``products`` in one turn: each with its count, in the order of their first use."""

    count: int
    products: tuple[tuple[int, Product], ...] = ()

    @staticmethod
    def of(count: int, products: Iterable[Product]) -> Turns:
        each = list(products)
        return Turns(count, tuple((each.count(p), p) for p in dict.fromkeys(each)))

    @staticmethod
    def told(detail: str) -> Turns:
        """What ``str`` wrote; one turn without products for any other text."""
        match = re.fullmatch(r"turns(\d{1,9})(?:of(\d{1,9}x\d{1,9}x\d{1,9}(?:\+\d{1,9}x\d{1,9}x\d{1,9})*))?", detail)
        if match is None:
            return Turns(1)
        sizes = [[int(n) for n in text.split("x")] for text in (match[2] or "").split("+") if text]
        return Turns(int(match[1]), tuple((times, (into, out)) for times, into, out in sizes))

    def __str__(self) -> str:
        """A loop's detail: "turns16of4x128x512" for four products in a turn, each of 128 inputs and 512 outputs."""
        products = "+".join(f"{times}x{into}x{out}" for times, (into, out) in self.products)
        return f"turns{self.count}of{products}" if products else f"turns{self.count}"

    @property
    def unrolled(self) -> int:
        """Steps in a turn: each has the same products."""
        return max(reduce(gcd, (times for times, _ in self.products), 0), 1)

    @property
    def of_step(self) -> tuple[Product, ...]:
        """The products of one step."""
        return tuple(p for times, p in self.products for _ in range(times // self.unrolled))


@dataclass(frozen=True)
class Layer:
    """The layer that a loop is of. ``gates``: 4 of an LSTM, 3 of a GRU; ``last``: it hands out no step's output but the last one's."""

    format: Format
    numbers: Numbers
    gates: int
    steps: int
    hidden: int
    outputs: int
    last: bool
    products: tuple[Product, ...]

    def operation(self) -> Operation:
        """Its loop, as the format's writer spells it."""
        row, width = (1, self.hidden), self.gates * self.hidden
        states: tuple[Shape, ...] = ((1, self.outputs), row)[4 - self.gates :]  # an LSTM's two, a GRU's one
        if self.format == "onnx":
            inputs, output, unrolled = (*states, (1, width)), states[0], 1
        else:
            every = () if self.last else ((self.steps, self.outputs),)
            inputs, output = ((self.steps, width), *every, *states), (1,)
            recurrent = [p for p in self.products if self.outputs == self.hidden or p != (self.hidden, self.outputs)]
            unrolled = steps_of_turn(self.steps, sum(a * b for a, b in recurrent) * (1 if self.numbers == "dynamic" else 4))
        turns = Turns.of(self.steps // unrolled, self.products * unrolled)
        return Operation("loop", self.numbers, inputs, output, detail=str(turns))

    @property
    def dense(self) -> bool:
        """Whether its gates are one matrix, and all that it multiplies by."""
        return self.products == ((self.outputs, self.gates * self.hidden),)

    def at_rank(self, rank: int, *, per_gate: bool = False) -> Layer:
        """A dense layer with a factor of ``rank`` before all gates, or before each."""
        if per_gate:
            return replace(self, products=((self.outputs, self.gates * rank), *((rank, self.hidden),) * self.gates))
        return replace(self, products=((self.outputs, rank), (rank, self.gates * self.hidden)))


def layer_of(operation: Operation) -> Layer:
    """The layer whose loop ``operation`` is. Raises ValueError where it can be no LSTM's and no GRU's."""
    turns, inputs = Turns.told(operation.detail), operation.inputs
    if len(inputs) < 2 or any(len(shape) != 2 for shape in inputs):
        raise ValueError("no recurrent layer takes these shapes")
    widest = max(range(len(inputs)), key=lambda i: inputs[i][1])
    others = [shape for i, shape in enumerate(inputs) if i != widest]
    hidden, tflite = others[-1][1], widest == 0
    gates, rest = divmod(inputs[widest][1], max(hidden, 1))
    if rest or gates not in (3, 4) or len(others) not in ((gates - 2, gates - 1) if tflite else (gates - 2,)):
        raise ValueError("no LSTM and no GRU has these shapes")
    states = others[2 - gates :]  # the last two, or the last
    steps = inputs[0][0] if tflite else turns.count
    if turns.count * turns.unrolled != steps:
        raise ValueError("its turns don't make up its steps")
    return Layer("tflite" if tflite else "onnx", operation.numbers, gates, steps, hidden, states[0][1],
                 tflite and len(others) == len(states), turns.of_step)  # fmt: skip
