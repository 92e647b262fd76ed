"""The table of candidates: totals of a plan, and which candidates can be left out."""
from __future__ import annotations

import math
from collections.abc import Mapping

from edgelr.errors import EdgelrError
from edgelr.vocabulary import DENSE, Candidate, Choice, Plan

Table = Mapping[str, tuple[Candidate, ...]]
Limits = Mapping[str, float]
Base = Mapping[str, float]


def check(table: Table, limits: Limits) -> None:
    """Raise EdgelrError unless each layer has a dense candidate, and each candidate a finite price in every budgeted cost."""
    for layer, candidates in table.items():
        if not any(c.choice == DENSE for c in candidates):
            raise EdgelrError(f"Layer {layer} has no dense candidate.", "Staying dense must always be possible.")
        for c in candidates:
            prices = [c.costs.get(kind, math.nan) for kind in limits]
            if not (c.error >= 0 and math.isfinite(c.error) and all(map(math.isfinite, prices))):
                raise EdgelrError(
                    f"Layer {layer}, {c.choice}: its error or one of its prices is missing or not finite.",
                    f"error {c.error}, prices {dict(zip(limits, prices, strict=True))}",
                    "Price every candidate in every budgeted cost first.",
                )


def find(table: Table, layer: str, choice: Choice) -> Candidate:
    """The candidate of a layer with this choice. Raises EdgelrError if the table has none."""
    for c in table.get(layer, ()):
        if c.choice == choice:
            return c
    raise EdgelrError(
        f"The plan makes layer {layer} {choice}, which was not priced.",
        "It is not among the layer's candidates.",
        "Choose among the candidates, or price this one too.",
    )


def total(plan: Plan, table: Table, base: Base) -> dict[str, float]:
    """Total of each cost that all chosen candidates have: base + sum over layers, in the cost's own unit.

    The sum is rounded once (``math.fsum``), so that it does not depend on the order of the layers.
    """
    chosen = _chosen(plan, table)
    kinds = {k: None for c in chosen for k in c.costs} if chosen else dict.fromkeys(base)
    return {
        k: math.fsum([base.get(k, 0.0), *(c.costs[k] for c in chosen)]) for k in kinds if all(k in c.costs for c in chosen)
    }


def error_of(plan: Plan, table: Table) -> float:
    """The plan's additive error: the sum of its candidates' errors."""
    return math.fsum(c.error for c in _chosen(plan, table))


def meets(plan: Plan, table: Table, limits: Limits, base: Base) -> bool:
    """Whether the plan's totals lie within every limit. Exact, without tolerance."""
    chosen = _chosen(plan, table)
    return all(math.fsum([base.get(k, 0.0), *(c.costs[k] for c in chosen)]) <= limit for k, limit in limits.items())


def prune(table: Table, limits: Limits) -> dict[str, tuple[Candidate, ...]]:
    """The table without candidates that no plan needs. The order is kept.

    A candidate goes if another of its layer has no more error and no more of every budgeted cost (of two equal ones the
    second goes). One that costs at least as much as dense in every budgeted cost goes too. Dense always stays.
    """
    check(table, limits)
    return {layer: _undominated(candidates, tuple(limits)) for layer, candidates in table.items()}


def least(table: Table, limits: Limits, base: Base) -> dict[str, float]:
    """For each budgeted cost, the least total that some plan reaches. Each on its own: no plan need reach all of them."""
    check(table, limits)
    return {k: math.fsum([base.get(k, 0.0), *(min(c.costs[k] for c in cs) for cs in table.values())]) for k in limits}


def weights(table: Table, limits: Limits) -> dict[str, float]:
    """Weights that make costs of different units comparable: 1 / (what all layers together can save of this cost)."""
    result = {}
    for k in limits:
        dense = [find(table, layer, DENSE).costs[k] for layer in table]
        savable = math.fsum(d - min(c.costs[k] for c in cs) for d, cs in zip(dense, table.values(), strict=True))
        result[k] = 1.0 / (savable or abs(math.fsum(dense)) or 1.0)
    return result


def all_dense(table: Table) -> Plan:
    return Plan(dict.fromkeys(table, DENSE))


def _chosen(plan: Plan, table: Table) -> list[Candidate]:
    for layer, choice in plan.factorised().items():
        if layer not in table:
            find(table, layer, choice)
    return [find(table, layer, plan[layer]) for layer in table]


def _undominated(candidates: tuple[Candidate, ...], kinds: tuple[str, ...]) -> tuple[Candidate, ...]:
    dense = next(c for c in candidates if c.choice == DENSE)
    rows = [(c.error, *(c.costs[k] for k in kinds)) for c in candidates]

    def dominated(i: int) -> bool:
        c = candidates[i]
        if all(c.costs[k] >= dense.costs[k] for k in kinds):
            return True
        return any(
            all(a <= b for a, b in zip(rows[j], rows[i], strict=True)) and (rows[j] != rows[i] or j < i)
            for j in range(len(rows))
            if j != i
        )

    return tuple(c for i, c in enumerate(candidates) if c is dense or (c.choice != DENSE and not dominated(i)))
