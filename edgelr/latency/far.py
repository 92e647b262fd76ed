"""What a network's operations cost beyond their rows where the network is larger than the caches: weights and values come from farther.

A row is measured with its operation's weights and values near, as those of a small network are that the cache holds whole: there sums of
rows are right. Those of larger networks are too low, by what the network's size says; less so for an operation that is large itself, since
alone it is far from its weights already. On x86-64 (docs/benchmarks/rows.md; networks up to 100 MB) sums of float rows were 9 to 13 % off
in the median and 33 % at worst, and are 5 to 6 % off with this, and 21 % at worst. Emptying the caches before each call instead makes
small networks' rows too dear.
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import log

import numpy as np

from edgelr.errors import BadInputError
from edgelr.latency.operation import Operation
from edgelr.latency.operation_bytes import held_bytes, moved_bytes, value_bytes, weight_bytes

CACHE_BYTES = 1_000_000  # L2 of a Cortex-A72; A53, A76 and Zen 3 have half of it
_LARGE, _VAST = 16, 40  # times the cache: sizes that weights' times are told for; between them they go by the size's logarithm
_KEY = "far_us_per_kb"


@dataclass(frozen=True)
class Far:
    """Microseconds for each KB (1,000 bytes) by numbers, of a small operation: of weights in a network of 16 MB, in one of 40 MB or more,
    and of values in one of 2 MB or more."""

    us_per_kb: Mapping[str, tuple[float, float, float]]

    @staticmethod
    def of(conditions: Mapping[str, str]) -> Far:
        """As a table's head tells it ("far_us_per_kb int8": "0.0040 0.0150 0.0010"); nothing where it doesn't. Raises BadInputError."""
        told = {key.split()[-1]: text.split() for key, text in conditions.items() if key.split()[0] == _KEY}
        try:
            return Far({numbers: (float(large), float(vast), float(values)) for numbers, (large, vast, values) in told.items()})
        except ValueError as error:
            raise BadInputError("The latency table is damaged.", f"{_KEY} isn't three numbers.", "build it again") from error

    def conditions(self) -> dict[str, str]:
        """For a table's head."""
        return {f"{_KEY} {numbers}": " ".join(f"{us:.4f}" for us in kinds) for numbers, kinds in sorted(self.us_per_kb.items())}

    def us(self, operation: Operation, size_bytes: int) -> float:
        """What an operation costs more inside a network of this size (``network_bytes``) than alone."""
        large, vast, values = self.us_per_kb.get(operation.numbers, (0.0, 0.0, 0.0))
        kb = _kb_farther(operation, size_bytes)
        return sum(us * n for us, n in zip((large, vast - large, values), kb, strict=True))


@dataclass(frozen=True)
class Reference:
    """A network measured whole, without the cost of the call. ``alone``: the times of its operations alone together, as a share of that."""

    whole_us: float
    alone: float
    operations: Sequence[Operation]


def network_bytes(operations: Iterable[Operation]) -> int:
    """What a network goes through in a call: all its weights, and the memory of its values, which they share."""
    every = list(operations)
    return sum(map(weight_bytes, every)) + max(map(value_bytes, every), default=0)


def far_us_per_kb(references: Sequence[Reference]) -> tuple[float, float, float]:
    """As ``Far`` has them, by non-negative least squares on the relative error of whole networks (Lawson and Hanson 1974)."""
    from scipy.optimize import nnls

    left = [max(1 - r.alone, 0.0) for r in references]
    found, _ = nnls(np.array([_kb_a_us(r) for r in references]), np.array(left))
    large, beyond, values = found.tolist()
    return large, large + beyond, values


def _shares(size_bytes: int) -> tuple[float, float, float]:
    """How far it is in so many bytes: none of the way where the cache holds them; to 16 times the cache, on to 40 times, and for values.

    Values are far from twice the cache on; weights more and more, by the size's logarithm: behind one cache there is a larger one, which
    others use too.
    """
    times = max(size_bytes, 1) / CACHE_BYTES
    large, vast = log(times) / log(_LARGE), log(times / _LARGE) / log(_VAST / _LARGE)
    return _within(large), _within(vast), _within(times - 1)


def _within(share: float) -> float:
    return min(max(share, 0.0), 1.0)


def _kb_farther(operation: Operation, size_bytes: int) -> tuple[float, float, float]:
    """KB of weights, of weights and of values, each times how much farther than alone they come from in a network of this size."""
    weights, values = weight_bytes(operation) / 1e3, moved_bytes(operation) / 1e3
    large, vast, spread = (there - alone for there, alone in zip(_shares(size_bytes), _shares(held_bytes(operation)), strict=True))
    return large * weights, vast * weights, spread * values


def _kb_a_us(r: Reference) -> list[float]:
    """What each of the three times counts for each microsecond of the whole."""
    size = network_bytes(r.operations)
    return [sum(kb) / r.whole_us for kb in zip(*(_kb_farther(o, size) for o in r.operations), strict=True)]
