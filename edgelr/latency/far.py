"""What operations cost in a network beyond their rows: others run between them, and weights and values come from farther.

A row is measured with its operation's weights and values near. Inside a network other operations leave theirs in the nearest caches: that
is a share of each operation's time, whatever the network's size. Where the network is larger than the caches, weights and values come
from farther: by how much is said by its size, and less so for an operation that is large itself, since alone it is far from its weights
already (docs/benchmarks/rows.md has sums of rows with and without). Emptying the caches before each call instead makes small networks'
rows too dear.
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from math import inf, log, prod

import numpy as np

from edgelr.errors import BadInputError
from edgelr.latency.operation import Operation
from edgelr.latency.operation_bytes import held_bytes, moved_bytes, value_bytes, weight_bytes
from edgelr.vocabulary import Numbers

# Bytes between which weights are told to come from farther, by the size's logarithm. On a core with caches of 0.5 and 32 MB (the latter
# shared), networks of 0.3 to 59 MB got dearer between the first two, and from the third on.
STEPS = (250_000, 1_000_000, 4_000_000, 16_000_000, 40_000_000)
_ONCE = 2  # the step from which weights count that a call goes through once: below, they are fetched ahead while others are multiplied
_VALUES = (1_000_000, 2_000_000)
_KEY, _INSIDE = "far_us_per_kb", "inside_share"
_KINDS = 2 * (len(STEPS) - 1) - _ONCE + 1


@dataclass(frozen=True)
class Far:
    """``us_per_kb``: microseconds for each KB (1,000 bytes) by numbers, of a small operation: of weights in networks of 1, 4, 16 and 40 MB
    (``STEPS``); of those of matrix-vector products, which go through them once, of 16 and 40 MB; and of values in one of 2 MB or more.

    ``inside``: what an operation costs more among others, as a share of its row. A loop doesn't: its row has its neighbours in it.
    """

    us_per_kb: Mapping[str, tuple[float, ...]]
    inside: Mapping[str, float] = field(default_factory=dict)

    @staticmethod
    def of(conditions: Mapping[str, str]) -> Far:
        """As a table's head tells it ("far_us_per_kb int8": "0 0.01 0.02 0.03 0.01 0.02 0.001", "inside_share int8": "0.03"); nothing where
        it doesn't. Raises BadInputError."""
        try:
            far = Far(
                {key.split()[-1]: tuple(map(float, text.split())) for key, text in conditions.items() if key.split()[0] == _KEY},
                {key.split()[-1]: float(text) for key, text in conditions.items() if key.split()[0] == _INSIDE},
            )
        except ValueError as error:
            raise BadInputError("The latency table is damaged.", f"{_KEY} or {_INSIDE} isn't numbers.", "build it again") from error
        if any(len(us) != _KINDS for us in far.us_per_kb.values()):
            raise BadInputError("The latency table is damaged.", f"{_KEY} isn't {_KINDS} numbers.", "build it again")
        if not all(0 <= x < inf for x in (*far.inside.values(), *(us for each in far.us_per_kb.values() for us in each))):
            raise BadInputError("The latency table is damaged.", f"{_KEY} or {_INSIDE} is negative or endless.", "build it again")
        return far

    def conditions(self) -> dict[str, str]:
        """For a table's head."""
        kinds = {f"{_KEY} {numbers}": " ".join(f"{us:.4f}" for us in each) for numbers, each in sorted(self.us_per_kb.items())}
        return {**kinds, **{f"{_INSIDE} {numbers}": f"{share:.4f}" for numbers, share in sorted(self.inside.items())}}

    def us(self, operation: Operation, alone_us: float, size_bytes: int) -> float:
        """What an operation costs more inside a network of this size (``network_bytes``) than the ``alone_us`` of its row."""
        among = 0.0 if operation.op == "loop" else self.inside.get(operation.numbers, 0.0) * alone_us
        if operation.numbers not in self.us_per_kb:
            return among
        us = self.us_per_kb[operation.numbers]
        often, once = us[: len(STEPS) - 1], us[len(STEPS) - 1 : -1]
        steps = [more - less for kind in (often, once) for less, more in pairwise((0.0, *kind))]
        return among + sum(us * kb for us, kb in zip((*steps, us[-1]), _kb_farther(operation, size_bytes), strict=True))


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


def far_from(references: Mapping[Numbers, Sequence[Reference]]) -> Far:
    """What networks tell together, by their numbers. Dynamic operations, which are linear layers, go by what int8 ones take."""
    found = {numbers: _found(each) for numbers, each in references.items()}
    if "int8" in found:
        found["dynamic"] = found["int8"]
    return Far({numbers: us for numbers, (us, _) in found.items()}, {numbers: share for numbers, (_, share) in found.items()})


def _found(references: Sequence[Reference]) -> tuple[tuple[float, ...], float]:
    """``us_per_kb`` and ``inside`` as ``Far`` has them, by non-negative least squares on the relative error of whole networks (Lawson and
    Hanson 1974)."""
    from scipy.optimize import nnls

    left = [max(1 - r.alone, 0.0) for r in references]
    found, _ = nnls(np.array([[*_kb_a_us(r), r.alone] for r in references]), np.array(left))
    often, once, (values, inside) = (part.tolist() for part in np.split(found, (len(STEPS) - 1, len(found) - 2)))
    return (*accumulate(often), *accumulate(once), values), inside


def _shares(size_bytes: int) -> list[float]:
    """How much of each step's way it is in so many bytes, and of the way of values.

    Weights come from farther and farther: behind one cache there is a larger one, which others use too.
    """
    size, (near, far) = max(size_bytes, 1), _VALUES
    return [*(_within(log(size / low) / log(high / low)) for low, high in pairwise(STEPS)), _within((size - near) / (far - near))]


def _within(share: float) -> float:
    return min(max(share, 0.0), 1.0)


def _kb_farther(operation: Operation, size_bytes: int) -> list[float]:
    """KB of weights for each step, of those gone through once, and of values, each times how much farther than alone they come from in a
    network of this size."""
    weights, values = weight_bytes(operation) / 1e3, moved_bytes(operation) / 1e3
    farther = [there - alone for there, alone in zip(_shares(size_bytes), _shares(held_bytes(operation)), strict=True)]
    kb, once = [share * weights for share in farther[:-1]], _goes_once(operation)
    return [*(0.0 if once else step for step in kb), *(step if once else 0.0 for step in kb[_ONCE:]), farther[-1] * values]


def _goes_once(operation: Operation) -> bool:
    """Whether each weight is used for one number of the output only: a matrix-vector product."""
    return operation.op in ("conv", "linear") and prod(operation.output[:-1]) == 1


def _kb_a_us(r: Reference) -> list[float]:
    """What each of these times counts for each microsecond of the whole."""
    size = network_bytes(r.operations)
    return [sum(kb) / r.whole_us for kb in zip(*(_kb_farther(o, size) for o in r.operations), strict=True)]
