"""One search for a plan, by the method asked for, within limits on the costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from edgelr.errors import BudgetError
from edgelr.pipeline.candidates import Factors
from edgelr.pipeline.scorer import GraphScorer
from edgelr.ranks import Search, Table, additive, beam, c_step, energy, error_of, rank_tuning, uniform
from edgelr.vocabulary import DENSE, Choice, Plan

# Work is bounded by counted MACs, not by seconds: the same run takes the same decisions on a busy machine. At the 20 to
# 60 GMAC/s of two x86-64 cores in float32 each bound is one to two minutes.
SENSITIVITY_MACS = 1e12
SEARCH_MACS = 2e12
EVALUATIONS_MAX = 1500
SENSITIVITY_SAMPLES = (16, 512)
OWN_ERRORS = ("energy", "learning-compression")  # these methods weigh each layer by itself, as published


def affordable_samples(most: int, macs: int) -> int:
    """How many held-out samples score a plan, so that a hundred plans and more can be scored: at least 64, at most ``most``."""
    return min(most, max(64, int(SEARCH_MACS / (120 * max(1, macs) / 2))))


@dataclass
class Searcher:
    """Scores choices once, then searches as often as prices change.

    ``max_loss`` is what rank-tuning may lose of the score, as a fraction; None where budgets say how small the network is to be.
    """

    method: str
    scorer: GraphScorer
    factors: Factors
    macs: int
    progress: Callable[[int, int], None] | None = None
    errors: dict[tuple[str, Choice], float] = field(default_factory=dict)
    max_loss: float | None = None

    def prepare(self, options: Mapping[str, Sequence[Choice]]) -> None:
        """The additive error of every choice: what it alone does to the output, measured; or the layer's own error."""
        moves = [(name, choice) for name, found in options.items() for choice in found]
        if self.method in OWN_ERRORS:
            self.errors = {move: self.factors.error(*move) for move in moves}
            return
        samples = int(SENSITIVITY_MACS / max(1, len(moves) * self.macs / 2))
        samples = max(SENSITIVITY_SAMPLES[0], min(SENSITIVITY_SAMPLES[1], samples))
        self.errors = dict(zip(moves, self.scorer.divergences(moves, samples), strict=True))

    def error(self, layer: str, choice: Choice) -> float:
        """The additive error of a choice; 0 before ``prepare``, when only costs matter."""
        return self.errors.get((layer, choice), 0.0)

    @property
    def evaluations_max(self) -> int:
        """How many plans one search may score."""
        return int(max(64, min(EVALUATIONS_MAX, SEARCH_MACS / max(1, self.scorer.n * self.macs / 2))))

    def find(self, table: Table, limits: Mapping[str, float], base: Mapping[str, float], seeds: Sequence[Plan] = ()) -> tuple[Plan, Search]:
        """The plan, and how it was found. Raises BudgetError, with the least that can, if no plan meets the limits."""
        if self.method == "dense":
            return Plan(dict.fromkeys(table, DENSE)), Search("dense")
        exact = additive(table, limits, base)
        plan, evaluations = exact.plan, 0
        if self.method == "uniform":
            plan = uniform(table, limits, base)
        elif self.method == "energy":
            plan = energy(table, limits, base)
        elif self.method == "learning-compression":
            plan = c_step(table, limits, base)
        elif self.method == "rank-tuning":
            floor = None if self.max_loss is None else self.scorer.score(Plan()) - self.max_loss
            tuned = rank_tuning(
                table, limits, base, self.scorer, floor=floor, max_evaluations=self.evaluations_max, progress=self.progress
            )
            plan, evaluations = tuned.plan, tuned.evaluations
            if floor is not None:  # no budget: there is no exact problem that a bound would be of
                return plan, Search(self.method, evaluations)
        elif self.method == "beam":
            starts = [exact.plan, uniform(table, limits, base), energy(table, limits, base), *seeds]
            allowed = self.evaluations_max
            if seeds:  # a later round, with corrected prices: most plans it meets are scored already
                allowed //= 4
            found = beam(table, limits, base, self.scorer, seed_plans=starts, max_evaluations=allowed, progress=self.progress)
            plan, evaluations = found.plan, found.evaluations
        error = error_of(plan, table)
        return plan, Search(self.method, evaluations, exact.bound, (error - exact.bound) / error if error > 0 else 0.0)


def reachable(table: Table, limits: Mapping[str, float], base: Mapping[str, float]) -> BudgetError | None:
    """The error that says why no plan can meet the limits, or None where one can."""
    try:
        additive(table, limits, base)
    except BudgetError as error:
        return error
    return None
