"""Joint search over all layers: the modified beam search of BSR, for any set of budgets."""
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from edgelr.ranks.exact import additive
from edgelr.ranks.moves import Pace, cheaper, complete, pace
from edgelr.ranks.polish import polish
from edgelr.ranks.scorer import Ledger, Progress, Scorer
from edgelr.ranks.space import Space, State
from edgelr.ranks.table import Base, Limits, Table
from edgelr.vocabulary import Plan

# Share of the evaluations that the descent may use; the polish has the rest.
DESCENT_SHARE = 0.7


@dataclass(frozen=True)
class TrailStep:
    """One level of the search: the excess that its states have left (1: all dense, 0: within the budget), and what was seen."""

    excess: float
    best_live: float
    best_done: float | None
    evaluations: int


@dataclass(frozen=True)
class BeamResult:
    """The plan with the best score within the limits. ``evaluations`` counts scored plans, ``visited`` those within the limits."""

    plan: Plan
    score: float
    evaluations: int
    visited: int
    trail: tuple[TrailStep, ...]


def beam(
    table: Table,
    limits: Limits,
    base: Base,
    scorer: Scorer,
    *,
    width: int = 4,
    moves: int = 8,
    levels: int = 24,
    patience: int = 3,
    seed_plans: Iterable[Plan] = (),
    max_evaluations: int = 1500,
    progress: Progress | None = None,
) -> BeamResult:
    """The plan with the best joint score within all limits that the modified beam search finds.

    After BSR (Eo, Kang and Rhee, arXiv 2111.15179): start with all layers dense, lower one layer at a time, score the nets
    jointly, keep the best ``width``, go on until the limit is met. Changed here: the limit is any set of budgets, and states
    compete at equal excess over it. A move saves at least 1/``levels`` of the excess at the start, jumping several ranks
    where they are close, and only the ``moves`` moves with the least additive error per saved cost are scored. The
    descent ends when no live state beat the best finished one for ``patience`` levels. The best finished states are then
    polished by increments and swaps of one rank, which a descent alone can't make.

    ``seed_plans`` within the limits compete at the end and are polished; those above are further starting points. The
    result never breaks a limit and never scores below such a seed. ``progress`` is called with (evaluations so far, most
    evaluations). Ties in score go to the lower additive error. If all dense meets the limits, it is returned at once.

    Raises BudgetError if no plan meets the limits.
    """
    space = Space.of(table, limits, base)
    ledger = Ledger(space, scorer, max_evaluations, progress)
    dense = space.dense
    if space.meets(dense):
        return BeamResult(space.plan(dense), ledger.score(dense), 1, 1, ())
    fallback = additive(table, limits, base).plan
    stride = pace(space, levels)
    seeds = [space.state(p) for p in seed_plans]
    greedy = complete(space, dense, stride)
    done = {s: None for s in [*seeds, *([greedy] if greedy else [])] if space.meets(s)}
    for s in done:
        ledger.score(s)
    live = [dense, *(s for s in seeds if s not in done)]
    trail = _descend(ledger, stride, live, done, width, moves, patience)
    if not done:
        done[space.state(fallback)] = None
        ledger.score(space.state(fallback))
    best = polish(ledger, sorted(done, key=ledger.rank)[:width], moves)
    return BeamResult(space.plan(best), ledger.scores[best], ledger.evaluations, sum(map(space.meets, ledger.scores)), tuple(trail))


def _descend(
    ledger: Ledger, stride: Pace, starts: list[State], done: dict[State, None], width: int, moves: int, patience: int
) -> list[TrailStep]:
    """Lower the live states level by level; states within the limits are put into ``done``."""
    space = ledger.space
    allowance = int(DESCENT_SHARE * ledger.max_evaluations)
    stride, width, moves = _fit(stride, width, moves, ledger.left(allowance))
    levels: dict[int, dict[State, None]] = {}
    for s in starts:
        ledger.score(s)
        levels.setdefault(_level(space, stride, s), {})[s] = None
    trail: list[TrailStep] = []
    fruitless = 0
    while levels and ledger.left(allowance) and fruitless < patience:
        level = min(levels)
        kept = sorted(levels.pop(level), key=ledger.rank)[:width]
        for parent in kept:
            for child in ledger.score_moves(parent, cheaper(space, parent, stride, moves), allowance):
                if space.meets(child):
                    done[child] = None
                else:
                    # One level down at least, or moves of layers that save less than a level would compete with their parents.
                    levels.setdefault(max(level + 1, _level(space, stride, child)), {})[child] = None
        best_done = max((ledger.scores[s] for s in done), default=None)
        best_live = ledger.scores[kept[0]]
        fruitless = fruitless + 1 if best_done is not None and best_live <= best_done else 0
        left = space.excess(space.totals(kept[0])) / stride.start
        trail.append(TrailStep(left, best_live, best_done, ledger.evaluations))
    for s in sorted((s for states in levels.values() for s in states), key=ledger.rank)[:width]:
        finished = complete(space, s, stride)
        if finished is not None and (finished in ledger.scores or ledger.left()):
            ledger.score(finished)
            done[finished] = None
    return trail


def _level(space: Space, stride: Pace, state: State) -> int:
    return int((stride.start - space.excess(space.totals(state))) / stride.step * (1 + 1e-9))


def _fit(stride: Pace, width: int, moves: int, evaluations: int) -> tuple[Pace, int, int]:
    """Fewer moves, then fewer states, then longer steps, so that the descent ends within its evaluations."""
    levels = stride.start / stride.step
    moves = min(moves, max(3, int(evaluations / (levels * width))))
    width = min(width, max(2, int(evaluations / (levels * moves))))
    longest = max(1.0, evaluations / (width * moves))
    return Pace(stride.start, max(stride.step, stride.start / longest), stride.savable), width, moves
