"""The same fraction of full rank in every layer."""
from __future__ import annotations

from collections.abc import Sequence

from edgelr.ranks.exact import additive
from edgelr.ranks.table import Base, Limits, Table, all_dense, check, error_of, find, meets, weights
from edgelr.vocabulary import DENSE, Candidate, Choice, Plan, Scheme


def uniform(table: Table, limits: Limits, base: Base) -> Plan:
    """Each layer at the same fraction of its largest offered rank: the largest fraction that meets the limits.

    The largest offered rank stands for the break-even rank, so a fraction is a share of the parameters (as in SVD-LLM,
    r = mn rho / (m + n)) and equals a fraction of full rank among layers of one kernel shape. A layer takes the candidate
    nearest below the fraction (its smallest where none lies below), and stays dense where none costs less than dense.
    Give the table before pruning, or the largest rank is not seen.

    One scheme is used for all layers that have it; the scheme whose plan has the least additive error wins.

    Where no fraction meets the limits, every layer takes its cheapest candidate; where that doesn't either (only with
    several limits), the additive optimum is returned. Raises BudgetError if no plan meets the limits.
    """
    check(table, limits)
    if meets(all_dense(table), table, limits, base):
        return all_dense(table)
    schemes = sorted({c.choice.scheme for cs in table.values() for c in cs} - {"dense"})
    plans = [p for scheme in schemes if (p := _of_scheme(table, scheme, limits, base)) is not None]
    if plans:
        return min(plans, key=lambda p: error_of(p, table))
    scale = weights(table, limits)
    cheapest = Plan({n: min(cs, key=lambda c: (_price(c, scale), c.error)).choice for n, cs in table.items()})
    return cheapest if meets(cheapest, table, limits, base) else additive(table, limits, base).plan


def _of_scheme(table: Table, scheme: Scheme, limits: Limits, base: Base) -> Plan | None:
    ladders = {n: _ladder(cs, scheme, tuple(limits), find(table, n, DENSE)) for n, cs in table.items()}
    for fraction in sorted({f for ladder in ladders.values() for f, _ in ladder}, reverse=True):
        plan = Plan({n: _at(ladder, fraction) for n, ladder in ladders.items()}) if ladders else Plan()
        if meets(plan, table, limits, base):
            return plan
    return None


def _ladder(candidates: Sequence[Candidate], scheme: Scheme, kinds: Sequence[str], dense: Candidate) -> list[tuple[float, Candidate]]:
    """(fraction, candidate) by falling fraction, of the scheme, or of the layer's first other one if it lacks the scheme."""
    own = sorted({c.choice.scheme for c in candidates} - {"dense"}, key=lambda s: (s != scheme, s))
    ranked = [(c.choice.rank, c) for c in candidates if own and c.choice.scheme == own[0] and c.choice.rank is not None]
    full = max((r for r, _ in ranked), default=1)
    pays = [(r / full, c) for r, c in ranked if any(c.costs[k] < dense.costs[k] for k in kinds)]
    return sorted(pays, key=lambda p: -p[0]) or [(1.0, dense)]


def _at(ladder: list[tuple[float, Candidate]], fraction: float) -> Choice:
    return next((c for f, c in ladder if f <= fraction), ladder[-1][1]).choice


def _price(candidate: Candidate, scale: dict[str, float]) -> float:
    return sum(w * candidate.costs[k] for k, w in scale.items())
