"""Budgets as users write them ("12ms", "50%KB", "30MMAC"), and as limits on the search's costs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from edgelr.errors import UsageError
from edgelr.vocabulary import Budget, BudgetKind

_UNITS: dict[str, tuple[BudgetKind, float]] = {
    "us": ("latency", 1e-3),
    "ms": ("latency", 1.0),
    "s": ("latency", 1e3),
    "b": ("size", 1),
    "kb": ("size", 1e3),
    "kib": ("size", 1024),
    "mb": ("size", 1e6),
    "mib": ("size", 1024**2),
    "mac": ("macs", 1),
    "macs": ("macs", 1),
    "kmac": ("macs", 1e3),
    "mmac": ("macs", 1e6),
    "gmac": ("macs", 1e9),
    "params": ("params", 1),
    "kparams": ("params", 1e3),
    "mparams": ("params", 1e6),
}
_FORM = re.compile(r"\s*([0-9]*\.?[0-9]+(?:e[0-9]+)?)\s*(%?)\s*([a-z]+)\s*", re.IGNORECASE)


def parse_budget(text: str) -> Budget:
    """ "12ms", "400KB", "1.5MB", "30MMAC", "0.25Mparams", or a share: "50%ms", "40%KB", "33%MAC", "25%params".

    ``Budget.value`` is in ms, bytes, MACs or parameters, or a fraction for a share. Raises UsageError.
    """
    match = _FORM.fullmatch(text)
    unit = match and _UNITS.get(match[3].lower())
    if not match or not unit:
        raise UsageError(
            f"can't read the budget {text!r}", "a budget is a number with a unit", "12ms, 400KB, 30MMAC, 0.25Mparams, 50%ms, 40%KB …"
        )
    kind, factor = unit
    number, relative = float(match[1]), bool(match[2])
    if not 0 < number < float("inf"):
        raise UsageError(f"the budget {text!r} limits nothing", "a budget is above 0 and finite", "give a positive number")
    return Budget(kind, number / 100 if relative else number * factor, match[3], relative, text.strip())


def cost_names(budget: Budget, runtimes: Sequence[str], formats: Sequence[str]) -> tuple[str, ...]:
    """The costs a budget limits: a size budget each file's bytes, a latency budget each runtime's time."""
    if budget.kind == "latency":
        return tuple(f"us:{r}" for r in runtimes)
    if budget.kind == "size":
        return tuple(f"bytes:{f}" for f in formats)
    return (budget.kind,)


def limits(budgets: Sequence[Budget], dense: Mapping[str, float], runtimes: Sequence[str], formats: Sequence[str]) -> dict[str, float]:
    """Each limited cost's limit: the tightest of all budgets on it. ``dense`` holds what shares are shares of."""
    result: dict[str, float] = {}
    for budget in budgets:
        for name in cost_names(budget, runtimes, formats):
            absolute = budget.value * 1e3 if budget.kind == "latency" else budget.value
            limit = budget.value * dense[name] if budget.relative else absolute
            result[name] = min(limit, result.get(name, limit))
    return result
