"""Sweep one error threshold over all layers."""
from __future__ import annotations

from itertools import groupby

from edgelr.ranks.table import Base, Limits, Table, all_dense, meets, prune, weights
from edgelr.vocabulary import Choice, Plan


def threshold_plan(table: Table, limits: Limits, base: Base) -> Plan | None:
    """The plan at the smallest common threshold that meets the limits, or None if no threshold does.

    With several limits "cheapest" is the sum of the budgeted costs, each as a share of what can be saved of it.
    """
    plan = all_dense(table)
    if meets(plan, table, limits, base):
        return plan
    kept, scale = prune(table, limits), weights(table, limits)
    best = {n: sum(scale[k] * c.costs[k] for k in limits) for n, cs in kept.items() for c in cs if c.choice == plan[n]}
    choices: dict[str, Choice] = dict(plan.choices)
    entries = sorted(
        (c.error, n, sum(scale[k] * c.costs[k] for k in limits), c.choice.scheme, c.choice.rank or 0, c.choice)
        for n, cs in kept.items()
        for c in cs
    )
    for _, group in groupby(entries, key=lambda e: e[0]):
        changed = False
        for _, n, price, _, _, choice in group:
            if price < best[n]:
                best[n], choices[n], changed = price, choice, True
        if changed and meets(Plan(choices), table, limits, base):
            return Plan(choices)
    return None
