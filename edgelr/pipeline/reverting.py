"""--max-drop: the operations that lose most on integers go back to float, one at a time, until the loss is within bounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edgelr.errors import BudgetError


@dataclass(frozen=True)
class Reverted:
    """One operation taken off the grid: the drop in points before and after, measured on held-out samples by the integer run."""

    name: str
    drop_before: float
    drop_after: float


def reverted(sqnr_db: Mapping[str, float], drop: Callable[[tuple[str, ...]], float], max_drop: float) -> tuple[Reverted, ...]:
    """What must be kept in float so that ``drop`` (points, for a tuple of operations in float) is at most ``max_drop``.

    ``sqnr_db`` is each operation's own (``sensitivities``): the worst goes first. Raises BudgetError where even all of them in float
    drop more.
    """
    order = sorted(sqnr_db, key=lambda n: sqnr_db[n])
    taken: list[Reverted] = []
    now = drop(())
    while now > max_drop:
        if len(taken) == len(order):
            raise BudgetError(
                f"the drop can't be brought to {max_drop:g} points",
                f"with every operation in float it is still {now:.2f} points: it comes from the factorisation, not from int8",
                f"allow --max-drop {now + 0.1:.1f}, train with --qat, or loosen the budget",
                {"points": now},
            )
        name = order[len(taken)]
        after = drop((*(t.name for t in taken), name))
        taken.append(Reverted(name, now, after))
        now = after
    return tuple(taken)
