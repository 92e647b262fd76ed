"""What a report tells of other budgets: each plan's accuracy beside its bytes and milliseconds, in float and on integers."""
from __future__ import annotations

from dataclasses import dataclass

from edgelr.report.checks import check_finite, check_score, refuse
from edgelr.report.latency import Latency
from edgelr.vocabulary import How, Score

CHOSEN = "compressed"


@dataclass(frozen=True)
class FrontierPoint:
    """One plan in one file: ``plan`` is "dense", "compressed" (the run's result), or the share of the dense network's cost ("50%").

    ``cost`` names what the share is of ("size"), "" where there is none. ``numbers`` are those the file computes in: "float", "int8",
    "mixed" or "dynamic". ``bytes`` are counted. The points of one report have scores of one split and equally many samples, which are
    among those that choices were made on. ``trained``: the plan was trained after it was factorised, or before.
    """

    plan: str
    numbers: str
    format: str
    bytes: int
    score: Score
    score_how: How = "measured"
    latency: Latency | None = None
    cost: str = ""
    trained: bool = False

    def __post_init__(self) -> None:
        check_finite(self.bytes, f"the bytes of {self.plan}", 1)
        check_score(self.score)


def check_frontier(points: tuple[FrontierPoint, ...]) -> None:
    """One curve compares what was scored alike."""
    if len({(p.score.metric, p.score.split, p.score.n) for p in points}) > 1:
        raise refuse("a frontier of scores on different samples", "Its points are compared with each other.")
