"""The message for limits that no plan meets: by how much, and what can be met."""
from __future__ import annotations

from edgelr.errors import BudgetError
from edgelr.ranks.knapsack import solve
from edgelr.ranks.table import Base, Limits, Table, least, total
from edgelr.ranks.wording import tell
from edgelr.vocabulary import Plan


def refuse_unreachable(table: Table, limits: Limits, base: Base) -> None:
    """Raise BudgetError if some limit, on its own, lies below the least that any plan reaches."""
    floor = least(table, limits, base)
    over = [k for k in limits if floor[k] > limits[k]]
    if over:
        short = "; ".join(f"{tell(k, limits[k])} asked, {tell(k, floor[k])} is the least" for k in over)
        by = "; ".join(f"{tell(k, floor[k] - limits[k])} too much" + _percent(floor[k], limits[k]) for k in over)
        raise BudgetError(
            f"The budget can't be met: {short}.",
            f"Even with every layer at its cheapest choice there is {by}.",
            f"Set the budget to {' and '.join(tell(k, floor[k]) for k in over)} or more, or offer more schemes or lower ranks.",
            least=floor,
        )


def jointly_infeasible(table: Table, limits: Limits, base: Base) -> BudgetError:
    """The error for limits that can be met one by one but not together: the least common relaxation that can."""
    plan, relax = least_relaxation(table, limits, base)
    reached = total(plan, table, base)
    return BudgetError(
        f"The budgets can't be met together: {' and '.join(tell(k, v) for k, v in limits.items())}.",
        f"Each can be met alone, but a choice that lowers one raises the other; together each must be relaxed by {relax:.2%}.",
        f"Relax them by that much: {' and '.join(tell(k, reached[k]) for k in limits)} can be met together.",
        least=least(table, limits, base),
    )


def least_relaxation(table: Table, limits: Limits, base: Base) -> tuple[Plan, float]:
    """The plan that minimises the largest relative excess over the limits, and that excess (negative: there is room)."""
    layers = sorted(table)
    candidates = [sorted(table[n], key=lambda c: (c.error, c.choice.scheme, c.choice.rank or 0)) for n in layers]
    rows = []
    for k, limit in limits.items():
        unit = abs(limit) or 1.0
        rows.append(([[c.costs[k] / unit for c in cs] for cs in candidates], (limit - base.get(k, 0.0)) / unit))
    solved = solve([[0.0] * len(cs) for cs in candidates], rows, slack=[1.0] * len(rows))
    picks = solved.picks or tuple(0 for _ in layers)
    plan = Plan({n: cs[i].choice for n, cs, i in zip(layers, candidates, picks, strict=True)})
    reached = total(plan, table, base)
    return plan, max((reached[k] - limit) / (abs(limit) or 1.0) for k, limit in limits.items())


def _percent(value: float, limit: float) -> str:
    return f" ({value / limit - 1:.1%} over)" if limit > 0 else ""
