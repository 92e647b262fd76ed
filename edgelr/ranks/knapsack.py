"""The multiple-choice knapsack for HiGHS: one binary for each candidate, exactly one candidate for each layer."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

# Keeps a pathological instance to seconds. Counted in nodes, not in time, so that the result is the same on every machine.
NODE_LIMIT = 20_000


@dataclass(frozen=True)
class Solved:
    """``picks`` holds one candidate index a layer, None if there is no solution. ``bound`` is on the objective as given."""

    picks: tuple[int, ...] | None
    bound: float
    optimal: bool
    infeasible: bool


def solve(
    objective: Sequence[Sequence[float]],
    rows: Sequence[tuple[Sequence[Sequence[float]], float]],
    forbidden: Sequence[tuple[int, ...]] = (),
    slack: Sequence[float] = (),
) -> Solved:
    """Minimise the objective over one pick a layer, with each row's sum at most its right side.

    ``objective[layer][candidate]``; a row is (``amount[layer][candidate]``, right side). ``forbidden`` picks are cut off one
    by one. With ``slack``, one free variable t is added with objective 1, and row i may exceed its right side by
    ``slack[i] * t``.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_array

    sizes = [len(o) for o in objective]
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(int)
    n, free = int(starts[-1]), bool(slack)
    cost = np.array([*(v for o in objective for v in o), *([1.0] if free else [])])
    one = csr_array(
        (np.ones(n), (np.repeat(np.arange(len(sizes)), sizes), np.arange(n))), shape=(len(sizes), n + free)
    )
    constraints: list[Any] = [LinearConstraint(one, 1, 1)]
    for i, (amounts, right) in enumerate(rows):
        line = np.array([*(v for a in amounts for v in a), *([-slack[i]] if free else [])])
        constraints.append(LinearConstraint(line, -np.inf, right))
    for picks in forbidden:
        cut = np.zeros(n + free)
        cut[starts[:-1] + np.array(picks)] = 1
        constraints.append(LinearConstraint(cut, -np.inf, len(picks) - 1))
    lower, upper = np.zeros(n + free), np.ones(n + free)
    if free:
        lower[-1], upper[-1] = -np.inf, np.inf
    result = milp(
        cost,
        integrality=np.array([1] * n + [0] * free),
        bounds=Bounds(lower, upper),
        constraints=constraints,
        # With presolve, HiGHS 1.12 writes a debugging line to the process's standard output on some instances.
        options={"mip_rel_gap": 0.0, "node_limit": NODE_LIMIT, "presolve": False},
    )
    picks_found = None
    if result.x is not None:
        picks_found = tuple(int(np.argmax(result.x[starts[i] : starts[i + 1]])) for i in range(len(sizes)))
    bound = getattr(result, "mip_dual_bound", None)
    return Solved(picks_found, -np.inf if bound is None else float(bound), result.status == 0, result.status == 2)
