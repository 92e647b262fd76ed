"""A latency as a report holds it."""
from __future__ import annotations

from dataclasses import dataclass

from edgelr.report.checks import check_finite, check_measured, refuse
from edgelr.vocabulary import How, Timing


@dataclass(frozen=True)
class Milliseconds:
    """A latency in ms with its spread over ``n`` calls."""

    median: float
    p10: float
    p90: float
    n: int


@dataclass(frozen=True)
class Latency:
    """A whole-network latency: ``on`` which device, in which runtime, with how many threads, and ``how`` it came to be known."""

    on: str
    runtime: str
    threads: int
    ms: Milliseconds
    how: How

    def __post_init__(self) -> None:
        check_measured(self.how, self.on, "latency")
        for name in ("median", "p10", "p90"):
            check_finite(getattr(self.ms, name), f"{name} latency in ms")
        if self.how == "measured" and self.ms.n < 1:
            raise refuse("a measured latency of no calls", "A measurement has at least one call behind it.")

    @classmethod
    def of(cls, timing: Timing) -> Latency:
        """The same latency in the form of report.json."""
        ms = Milliseconds(timing.median, timing.p10, timing.p90, timing.n)
        return cls(timing.on, timing.runtime, timing.threads, ms, timing.how)
