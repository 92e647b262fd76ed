"""What a report tells of training: a stage for each time that the network was trained, in their order."""
from __future__ import annotations

import math
from dataclasses import dataclass

from edgelr.report.checks import check_finite, check_score, refuse
from edgelr.vocabulary import Score


@dataclass(frozen=True)
class RankChange:
    """A layer that training gave another choice than the search had: "dense", "channel r8"."""

    layer: str
    before: str
    after: str


@dataclass(frozen=True)
class TrainingStage:
    """One training: ``name`` in a user's words ("training at full rank", "fine-tuning"), ``recipe`` as the command line has it.

    ``why`` says why this recipe ran: asked for, or what ``auto`` went by. ``samples`` are those of one epoch. Losses are those first and
    last told of its progress, None where there was none. Scores are of the float network just before and just after, on held-out samples
    of training data; None where they were not taken. ``rate`` is the peak learning rate it was begun with.
    """

    name: str
    recipe: str
    why: str
    epochs: int
    samples: int
    seconds: float
    loss_first: float | None = None
    loss_last: float | None = None
    score_before: Score | None = None
    score_after: Score | None = None
    ranks: tuple[RankChange, ...] = ()
    rate: float | None = None

    def __post_init__(self) -> None:
        if not self.recipe or self.epochs < 0 or self.samples < 0:
            told = f"{self.epochs} epochs of {self.samples} samples by the recipe {self.recipe!r}"
            raise refuse(told, "A training has a recipe, and no fewer than none of each.")
        check_finite(self.seconds, "the seconds of training")
        for name in ("loss_first", "loss_last"):
            check_finite(getattr(self, name), f"the training's {name}", low=-math.inf)
        check_score(self.score_before)
        check_score(self.score_after)
