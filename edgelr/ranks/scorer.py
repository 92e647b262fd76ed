"""What a joint search asks of a score, and the book it keeps of what was asked."""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from edgelr.ranks.space import Move, Space, State, moved
from edgelr.vocabulary import Choice, Plan

Progress = Callable[[int, int], None]


class Scorer(Protocol):
    """Scores plans on held-out data; higher is better."""

    def score(self, plan: Plan) -> float:
        """The score of one plan."""

    def score_moves(self, parent: Plan, moves: Sequence[tuple[str, Choice]]) -> list[float]:
        """The scores of ``parent.replace(layer, choice)``, one for each move, with what they share computed once."""


@dataclass(frozen=True)
class FunctionScorer:
    """A plain function of a plan, as a Scorer."""

    fn: Callable[[Plan], float]

    def score(self, plan: Plan) -> float:
        return self.fn(plan)

    def score_moves(self, parent: Plan, moves: Sequence[tuple[str, Choice]]) -> list[float]:
        return [self.fn(parent.replace(layer, choice)) for layer, choice in moves]


@dataclass
class Ledger:
    """Scores states, each once, and stops asking when the allowance is used up."""

    space: Space
    scorer: Scorer
    max_evaluations: int
    progress: Progress | None = None
    scores: dict[State, float] = field(default_factory=dict)

    @property
    def evaluations(self) -> int:
        return len(self.scores)

    def left(self, allowance: int | None = None) -> int:
        """How many more states may be scored, up to ``allowance`` in all."""
        return max(0, min(self.max_evaluations, self.max_evaluations if allowance is None else allowance) - self.evaluations)

    def score(self, state: State) -> float:
        """Score of one state; asked even beyond the allowance, so that there is always something to return."""
        if state not in self.scores:
            self._enter([state], [self.scorer.score(self.space.plan(state))])
        return self.scores[state]

    def score_moves(self, parent: State, moves: Sequence[Move], allowance: int | None = None) -> list[State]:
        """The children of one parent that have a score now. Those beyond the allowance are left out."""
        fresh = [m for m in dict.fromkeys(moves) if moved(parent, m) not in self.scores][: self.left(allowance)]
        if fresh:
            named = [self.space.named(m) for m in fresh]
            self._enter([moved(parent, m) for m in fresh], self.scorer.score_moves(self.space.plan(parent), named))
        return [s for s in dict.fromkeys(moved(parent, m) for m in moves) if s in self.scores]

    def rank(self, state: State) -> tuple[float, float, State]:
        """Sort key, best first: score, then additive error (accuracy on few samples ties often), then a fixed order."""
        return (-self.scores[state], self.space.error(state), state)

    def _enter(self, states: Sequence[State], scores: Sequence[float]) -> None:
        for state, score in zip(states, scores, strict=True):
            # A network that broke down (NaN) must lose every comparison.
            self.scores[state] = -math.inf if math.isnan(score) else float(score)
        if self.progress is not None:
            self.progress(self.evaluations, self.max_evaluations)
