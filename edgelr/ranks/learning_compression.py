"""The C step of learning-compression: the ranks of all layers at once, exact for a price on cost, and for a budget."""
from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from edgelr.ranks.exact import additive
from edgelr.ranks.infeasible import refuse_unreachable
from edgelr.ranks.table import Base, Limits, Table, all_dense, check, find, meets, total, weights
from edgelr.vocabulary import Candidate, Plan

Multipliers = Mapping[str, float]


def c_step(table: Table, limits: Limits, base: Base) -> Plan:
    """The plan of the smallest multipliers that meet the limits, then raised as long as something fits.

    The C step of Idelbayev and Carreira-Perpinan (CVPR 2020, eq. 5) with the price on cost, lambda, found instead of given. The
    table's errors are the squared distances that the step weighs, s_i^2 summed over i > r, divided by N of the layer (whatever N
    the L step's penalty has, too); costs are any that add up, latency from a target's table included. Each layer takes the
    candidate with the least error + sum of lambda * cost (``c_step_at``). That plan has the least error of all that cost no more
    than itself (Everett, 1963). As lambda grows, a layer moves only at the slopes of the lower convex hull of its candidates: these
    are bisected, not the real line. Between two slopes lies what one candidate more or less costs; the rest is given
    back to the layer that gains most of what fits. No limit has room left for any further gain of one layer.

    With several limits the multipliers are in the proportion of those of the linear relaxation, whose exact optimum they are; where
    no size of theirs meets all limits, the additive optimum is returned. Raises BudgetError if no plan meets the limits.
    """
    refuse_unreachable(table, limits, base)
    if meets(all_dense(table), table, limits, base):
        return all_dense(table)
    direction = weights(table, limits) if len(limits) == 1 else _relaxed(table, limits, base)
    steps = _between(sorted({s for cs in table.values() for s in _slopes(cs, direction)}))

    def plan(step: float) -> Plan:
        return c_step_at(table, {k: step * w for k, w in direction.items()})

    first = bisect_left(range(len(steps)), True, key=lambda i: meets(plan(steps[i]), table, limits, base))
    found = plan(steps[first]) if first < len(steps) else additive(table, limits, base).plan
    return _given_back(found, table, limits, base)


def c_step_at(table: Table, multipliers: Multipliers) -> Plan:
    """Each layer's candidate with the least error + sum over costs of multiplier * cost; a tie goes to the cheaper.

    The C step as published, for a given lambda, where a multiplier is 2 * lambda / mu. Costs are capped, for dense is a candidate.
    """
    check(table, multipliers)
    return Plan({n: min(cs, key=lambda c: _penalised(c, multipliers)).choice for n, cs in table.items()})


def threshold_rank(
    spectrum: Sequence[float], rank_cost: float, dense_cost: float, alpha: float, mu: float, *, norm: float = 1.0, least: int = 1
) -> int:
    """The C step of one layer in closed form: the rank, where full rank, ``len(spectrum)``, says dense.

    Minimises alpha * min(r * rank_cost, dense_cost) + mu / 2 * (sum of s_i^2 over i > r) / norm over r >= ``least``. ``spectrum`` holds
    the singular values, falling. As cost is linear in r below dense, the optimum is a threshold on them: r is the number with
    s_i^2 / norm > 2 alpha rank_cost / mu (equal ones are left out: of two optima the cheaper is taken), or dense where that is better;
    from break-even on dense is. The paper allows ``least`` 0, a layer without its weight.
    """
    energy = np.square(np.asarray(spectrum, float)) / norm
    full = len(energy)
    rank = max(least, int(np.count_nonzero(mu * energy > 2 * alpha * rank_cost)))
    if rank >= full or rank * rank_cost >= dense_cost:
        return full
    kept = alpha * rank * rank_cost + mu / 2 * math.fsum(energy[rank:])
    return rank if kept <= alpha * dense_cost else full


def _penalised(candidate: Candidate, multipliers: Multipliers) -> tuple[float, float, str, int]:
    price = math.fsum(m * candidate.costs[k] for k, m in multipliers.items())
    return candidate.error + price, price, candidate.choice.scheme, candidate.choice.rank or 0


def _slopes(candidates: Sequence[Candidate], direction: Multipliers) -> Iterator[float]:
    """Where a layer's choice changes as the multipliers grow: error gained per price saved, along the lower convex hull."""
    points = sorted((_penalised(c, direction)[1], c.error) for c in candidates)
    price, error = min(points, key=lambda p: (p[1], p[0]))
    while True:
        slopes = [((e - error) / (price - p), p, e) for p, e in points if p < price]
        if not slopes:
            return
        slope, price, error = min(slopes)  # of equal slopes the cheapest: the furthest along that edge
        yield slope


def _between(slopes: Sequence[float]) -> list[float]:
    """A multiplier beyond each slope and before the next: on a slope itself rounding would decide."""
    return [(a + b) / 2 for a, b in zip(slopes, [*slopes[1:], 2 * slopes[-1] + 1], strict=True)] if slopes else []


def _relaxed(table: Table, limits: Limits, base: Base) -> dict[str, float]:
    """The multipliers of the limits where candidates may be mixed: the dual of the linear program, solved by HiGHS."""
    from scipy.optimize import linprog

    layers, kinds, scale = sorted(table), sorted(limits), weights(table, limits)
    rows = [(i, c) for i, n in enumerate(layers) for c in table[n]]
    one = np.array([[float(i == at) for i, _ in rows] for at in range(len(layers))])
    costs = np.array([[scale[k] * c.costs[k] for _, c in rows] for k in kinds])
    rooms = [scale[k] * (limits[k] - base.get(k, 0.0)) for k in kinds]
    unit = max(c.error for _, c in rows) or 1.0
    solved = linprog([c.error / unit for _, c in rows], costs, rooms, one, np.ones(len(layers)), method="highs")
    if solved.status != 0:  # no mixture meets the limits together: no plan does, which ``additive`` explains
        return dict.fromkeys(kinds, 0.0)
    return {k: max(0.0, -float(m)) * unit * scale[k] for k, m in zip(kinds, solved.ineqlin.marginals, strict=True)}


def _given_back(plan: Plan, table: Table, limits: Limits, base: Base) -> Plan:
    """The plan with one layer after the other raised to the candidate of the most gain that fits, until none does."""
    while True:
        spent = total(plan, table, base)
        held = {n: find(table, n, plan[n]) for n in table}
        room = {k: limit - spent[k] + 1e-9 * abs(limit) for k, limit in limits.items()}
        gains = (
            (h.error - c.error, -sum(c.costs[k] for k in limits), n, c.choice)
            for n, h in held.items()
            for c in table[n]
            if c.error < h.error and all(c.costs[k] - h.costs[k] <= r for k, r in room.items())
        )
        better = (plan.replace(n, c) for _, _, n, c in sorted(gains, key=lambda g: (-g[0], -g[1], g[2])))
        fitting = next((p for p in better if meets(p, table, limits, base)), None)
        if fitting is None:
            return plan
        plan = fitting
