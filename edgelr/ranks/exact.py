"""The exact optimum of the additive problem."""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgelr.ranks.infeasible import jointly_infeasible, refuse_unreachable
from edgelr.ranks.knapsack import solve
from edgelr.ranks.table import Base, Limits, Table, all_dense, error_of, meets, prune
from edgelr.ranks.threshold import threshold_plan
from edgelr.vocabulary import Candidate, Plan

# HiGHS allows 1e-6 of absolute slack in rows and in the objective, which scipy can't change. Scaled to 1e3, that is 1e-9 of
# a limit's room and of the error of the best plan known.
SCALE = 1e3
# The solver's answer can lie over a limit by that slack. So many such answers are cut off before the best plan known is taken.
CUTS_MAX = 20


@dataclass(frozen=True)
class Additive:
    """A plan, its additive error, the least error any plan within the limits can have, and (error - bound) / error.

    ``status`` is "optimal", or "stopped early" where the solver reached its node limit; the gap says how much may be left.
    """

    plan: Plan
    error: float
    bound: float
    gap: float
    status: str


def additive(table: Table, limits: Limits, base: Base) -> Additive:
    """The plan with the least sum of errors within the limits: a multiple-choice knapsack, solved by HiGHS.

    Deterministic, and independent of the order of layers and candidates.
    Raises BudgetError, with ``least``, if no plan meets the limits.
    """
    refuse_unreachable(table, limits, base)
    dense = all_dense(table)
    if meets(dense, table, limits, base):
        return Additive(dense, 0.0, 0.0, 0.0, "optimal")
    known = threshold_plan(table, limits, base)
    ceiling = math.inf if known is None else error_of(known, table)
    found, bound, optimal = _within(ceiling, table, limits, base)
    plans = [p for p in (known, found) if p is not None]
    if not plans:
        raise jointly_infeasible(table, limits, base)
    # The scale follows the ceiling: solved again at the found error, the solver's slack is small beside the optimum.
    while found is not None and 0 < error_of(found, table) < ceiling / 10:
        ceiling = error_of(found, table)
        found, bound, optimal = _within(ceiling, table, limits, base)
        plans += [found] if found is not None else []
    best = min(plans, key=lambda p: error_of(p, table))
    error = error_of(best, table)
    bound = min(error, max(0.0, bound))
    return Additive(best, error, bound, (error - bound) / error if error > 0 else 0.0, "optimal" if optimal else "stopped early")


def _within(ceiling: float, table: Table, limits: Limits, base: Base) -> tuple[Plan | None, float, bool]:
    """The best plan of error at most ``ceiling`` (None if there is none), the bound, and whether the plan is the optimum.

    A candidate whose own error exceeds the ceiling, or which alone uses up more than the room a limit leaves above
    everyone's cheapest choice, is in no such plan. Leaving these out keeps the coefficients within a few orders of magnitude.
    """
    kept = prune(table, limits)
    layers = sorted(kept)
    floors = {k: [min(c.costs[k] for c in kept[n]) for n in layers] for k in limits}
    rooms = {k: max(0.0, math.fsum([limit, -base.get(k, 0.0), *(-f for f in floors[k])])) for k, limit in sorted(limits.items())}

    def possible(i: int) -> list[Candidate]:
        fitting = [c for c in kept[layers[i]] if c.error <= ceiling and all(_fits(c.costs[k], floors[k][i], r) for k, r in rooms.items())]
        return sorted(fitting, key=lambda c: (c.error, c.choice.scheme, c.choice.rank or 0))

    candidates = [possible(i) for i in range(len(layers))]
    if not all(candidates):
        return None, math.inf, True
    worst = ceiling if math.isfinite(ceiling) else math.fsum(cs[-1].error for cs in candidates)
    scale = SCALE / (worst or 1.0)
    rows = [
        ([[SCALE * (c.costs[k] - f) / r for c in cs] for cs, f in zip(candidates, floors[k], strict=True)], SCALE)
        for k, r in rooms.items()
        if r > 0
    ]
    return _cut_until_met(layers, candidates, scale, rows, (table, limits, base))


def _cut_until_met(
    layers: Sequence[str],
    candidates: Sequence[Sequence[Candidate]],
    scale: float,
    rows: Sequence[tuple[Sequence[Sequence[float]], float]],
    problem: tuple[Table, Limits, Base],
) -> tuple[Plan | None, float, bool]:
    forbidden: list[tuple[int, ...]] = []
    bound = -math.inf
    for _ in range(CUTS_MAX):
        solved = solve([[c.error * scale for c in cs] for cs in candidates], rows, forbidden)
        if solved.picks is None:
            return None, bound, solved.infeasible
        bound = solved.bound / scale
        plan = Plan({n: cs[i].choice for n, cs, i in zip(layers, candidates, solved.picks, strict=True)})
        if meets(plan, *problem):
            return plan, bound, solved.optimal
        forbidden.append(solved.picks)
    return None, bound, False


def _fits(cost: float, floor: float, room: float) -> bool:
    return cost - floor <= room * (1 + 1e-12)
