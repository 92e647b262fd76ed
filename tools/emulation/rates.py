"""Cycles for each kind of event on a core, and what is known of them before anything is fitted.

The first rates are fitted by others' published times in another runtime: ncnn's own table (Tencent/ncnn benchmark/README.md@a4d2ea1d4, one
thread, 19 networks in float and int8), against counts of ncnn 1.0.20261020 under emulation, by non-negative least squares on the relative
error; the mean over the boards named. They are collinear: they predict, and aren't a core's physics.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]


class Counts(Protocol):
    """What ``counting.events`` gives of one file."""

    @property
    def fp_mac(self) -> int: ...
    @property
    def int_mac(self) -> int: ...
    @property
    def load(self) -> int: ...
    @property
    def store(self) -> int: ...
    @property
    def other(self) -> int: ...
    @property
    def l1_fetched(self) -> int: ...
    @property
    def l2_fetched(self) -> int: ...
    @property
    def l2_written(self) -> int: ...


@dataclass(frozen=True)
class Rates:
    """Cycles for an instruction of each class, a line of 64 bytes into L1, and one into or out of the last level of cache."""

    fp_mac: float
    int_mac: float
    other: float
    l1_line: float
    memory_line: float

    @property
    def vector(self) -> Vector:
        return np.array(astuple(self))

    def by(self, times: float) -> Rates:
        return Rates(*(times * self.vector))


@dataclass(frozen=True)
class Core:
    """``kernels`` is the emulated core whose kernels it runs; ``first`` are its rates before the fit, ``on`` what they come from.

    ``trust`` is the relative error of the first rates: ncnn's own times on four boards with an A53 give rates that predict each other's
    within 18 to 27 %, those of other cores within 10 to 14 %. ``like``: the core whose rates, once fitted, it takes, times what
    ``core_pairs`` tells of both. ``floats``: the core as which it is counted and priced in float.
    """

    kernels: str
    first: Rates
    on: str
    trust: float = 0.5
    like: str = ""
    floats: str = ""


LEAST = Rates(0.5, 0.5, 0.5, 10.0, 10.0).vector
_A53 = Rates(1.49, 1.49, 1.17, 0.0, 10.5)  # one rate for both kinds of MACs: with two, ncnn's times give the float one for nothing
_A72 = Rates(0.28, 0.57, 0.76, 18.4, 7.4)
_A76 = Rates(0.42, 0.43, 0.47, 0.0, 7.8)

# Throughputs: hiroog/vfpbench logs (fmla.4s and sdot.4s each cycle): A53, A55, A72, A73, A75 one fmla, A76, A78, X1 (sustained) two;
# sdot: A55 and A75 one, A76, A78 two.
CORES: dict[str, Core] = {
    "a53": Core("a53", _A53, "ncnn on Raspberry Pi Zero 2 W, 3B+ and RK3399", trust=1.0),
    "a55": Core("a76", _A76,
                "A76's, times what networks take on an A55 in other runtimes (core_pairs.tsv); in float A53's: the same throughput, and "
                "within 11 % the same instructions", like="a76", floats="a53"),
    "a72": Core("a72", _A72, "ncnn on Raspberry Pi 4 and RK3399"),
    "a73": Core("a72", Rates(0.32, 0.65, 0.87, 21.0, 8.4),
                "A72's by 1.14: the median of ncnn's float networks on four A73 boards against Raspberry Pi 4, cycle by cycle"),
    "kryo": Core("a72", _A72, "A72's"),
    "a75": Core("a72", _A72,
                "A72's: the same throughput in float. Dot products don't show in the published times: int8 is 1.8 times as fast as float "
                "on Pixel 3, 2.8 times on Pixel 4 (measurement); A72's kernels are counted"),
    "a76": Core("a76", _A76, "ncnn on Raspberry Pi 5 and OnePlus 7T"),
    "a78": Core("a76", _A76, "A76's, times what networks take on an A78 in another runtime (core_pairs.tsv)", like="a76"),
    "x1": Core("a76", _A76, "A76's: what an X1 sustains (45.8 GFLOP/s at 2.85 GHz in float) is A76's throughput a cycle", like="a76"),
}  # fmt: skip


def counted_as(core: str, numbers: str) -> str:
    """The core whose kernels and cycles ``core`` has for a file in ``numbers``."""
    return CORES[core].floats if numbers == "float" and CORES[core].floats else core


def features(counts: Counts) -> Vector:
    """The five events that ``Rates`` prices."""
    simple, lines = counts.load + counts.store + counts.other, counts.l2_fetched + counts.l2_written
    return np.array([counts.fp_mac, counts.int_mac, simple, counts.l1_fetched, lines], dtype=np.float64)


def milliseconds(events: Vector, rates: Rates, ghz: float) -> float:
    return float(events @ rates.vector) / ghz / 1e6


def fit(
    first: Rates, events: Sequence[Vector], ms: Sequence[float], ghz: Sequence[float], *, trust: float = 0.5, noise: float = 0.15
) -> Rates:
    """The rates that give least squared relative error on published times, none below zero.

    ``first`` counts as a measurement of each rate with the relative error ``trust``, a published time with ``noise``: few rows then move
    what they tell of and leave the rest. A rate below half a cycle (ten for a line) may move as one of that much does.
    """
    from scipy.optimize import nnls

    prior, scale = first.vector, np.maximum(first.vector, LEAST) * trust
    rows = [np.diag(1 / scale)]
    wanted = [prior / scale]
    if events:
        rows.append(np.array([e / (t * 1e6 * g) for e, t, g in zip(events, ms, ghz, strict=True)]) / noise)
        wanted.append(np.full(len(events), 1 / noise))
    return Rates(*nnls(np.concatenate(rows), np.concatenate(wanted))[0])
