"""Rank-Tuning: the smallest rank of each layer alone that keeps the score, then all layers together."""
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgelr.ranks.curves import ROUNDING, SCAN_SHARE, Curves, ladders, price_of, prices_of, thinned
from edgelr.ranks.exact import additive
from edgelr.ranks.moves import complete, pace
from edgelr.ranks.polish import polish
from edgelr.ranks.scorer import Ledger, Progress, Scorer
from edgelr.ranks.space import Space, State
from edgelr.ranks.table import Base, Limits, Table
from edgelr.vocabulary import Choice, Plan

EXCHANGES = 8  # tried at once where a budget is filled up
STARTS = 3  # plans that are lowered where a floor is to be kept: scores of few samples have dips, in which one of them ends early


@dataclass(frozen=True)
class Tuned:
    """The plan and its joint score. ``alone`` is the plan before the joint repair: what each layer by itself could do at ``threshold``.

    ``curves`` hold, for each layer, the scanned candidates from cheap to dear and the scores that each has with all others dense.
    """

    plan: Plan
    score: float
    dense_score: float
    threshold: float
    alone: Plan
    evaluations: int
    curves: Mapping[str, tuple[tuple[Choice, float], ...]]


def rank_tuning(
    table: Table,
    limits: Limits,
    base: Base,
    scorer: Scorer,
    *,
    floor: float | None = None,
    price: str = "params",
    max_evaluations: int = 1500,
    progress: Progress | None = None,
) -> Tuned:
    """The cheapest plan found whose joint score is ``floor`` or more; or without a floor, the plan within all limits that loses least.

    After Maison, du Mas des Bourboux and Courtat (arXiv 2310.12688): each layer is truncated alone, rank by rank from the smallest, until
    the score reaches a threshold; a layer that never does stays dense. Changed here: thresholds are read from scores that are kept, so each
    candidate is scored once. With limits the threshold is the highest whose plan meets them all. Then all are truncated together: with
    a floor, the threshold rises until the joint score holds it, and from there single layers go down as long as it does; with limits,
    what the budget leaves is given back and exchanged while the joint score rises.

    ``price`` is the cost that counts beside a floor; limits hold there too. Of several schemes the cheapest candidate is taken. Where the
    evaluations don't suffice, every second or third candidate is scanned. All dense is returned where it meets the limits and no floor is
    given, and where nothing else keeps the floor.
    Raises BudgetError if no plan meets the limits.
    """
    space = Space.of(table, limits if floor is None else {price: math.inf, **limits}, base)
    ledger = Ledger(space, scorer, max_evaluations, progress)
    dense_score = ledger.score(space.dense)
    if floor is None and space.meets(space.dense):
        return Tuned(space.plan(space.dense), dense_score, dense_score, dense_score, space.plan(space.dense), 1, {})
    prices = prices_of(space, None if floor is None else price)
    curves = Curves(ledger, thinned(ladders(space, prices, floor is not None), int(SCAN_SHARE * max_evaluations)), dense_score)
    if floor is None:
        threshold, alone = _within(curves)
        plan = alone if alone is not None else space.state(additive(table, limits, base).plan)
        ledger.score(plan)
        best = polish(ledger, [plan], EXCHANGES)
    else:
        starts = _holding(curves, floor)
        threshold, alone = starts[0]
        lowered = [_lowered(curves, state, floor, prices) for _, state in starts]
        best = min(lowered, key=lambda s: (price_of(prices, s), ledger.rank(s)))
        if not space.meets(best):
            best = complete(space, best, pace(space, len(space.layers))) or space.dense
            best = best if ledger.score(best) >= floor - ROUNDING else space.dense
    before = space.plan(space.dense if alone is None else alone)
    return Tuned(space.plan(best), ledger.score(best), dense_score, threshold, before, ledger.evaluations, curves.told())


def _within(curves: Curves) -> tuple[float, State | None]:
    """The highest threshold whose plan meets the limits, and that plan; None where none does."""
    for threshold in reversed(curves.thresholds()):
        state = curves.alone(threshold)
        if curves.ledger.space.meets(state):
            return threshold, state
    return -math.inf, None


def _holding(curves: Curves, floor: float) -> list[tuple[float, State]]:
    """Thresholds from the floor on whose plans' joint scores keep the floor, and these plans: the lowest one that bisection finds, and the
    next ones above it, up to ``STARTS``; all dense where there is none."""
    ledger = curves.ledger
    steps: dict[State, float] = {}
    for threshold in [floor, *(t for t in curves.thresholds() if t > floor)]:
        steps.setdefault(curves.alone(threshold), threshold)
    plans = list(steps)
    low, high = 0, len(plans)
    while low < high:
        middle = 0 if (low, high) == (0, len(plans)) else (low + high) // 2
        if ledger.score(plans[middle]) >= floor - ROUNDING:
            high = middle
        else:
            low = middle + 1
    found = [(steps[p], p) for p in plans[high : high + STARTS] if ledger.score(p) >= floor - ROUNDING]
    return found or [(math.inf, ledger.space.dense)]


def _lowered(curves: Curves, state: State, floor: float, prices: Sequence[Sequence[float]]) -> State:
    """The state with single layers made cheaper, that one first which saves most, while the joint score keeps the floor."""
    ledger = curves.ledger
    while ledger.left() and ledger.score(state) >= floor - ROUNDING:
        below = [[i for i in ladder if prices[n][i] < prices[n][state[n]]] for n, ladder in enumerate(curves.ladders)]
        tried = ledger.score_moves(state, [(n, ladder[-1]) for n, ladder in enumerate(below) if ladder])
        holding = [s for s in tried if ledger.scores[s] >= floor - ROUNDING]
        if not holding:
            return state
        state = min(holding, key=lambda s: (price_of(prices, s), ledger.rank(s)))
    return state
