"""How a plan was found, for the report."""
from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Search:
    """How a plan was found.

    ``method`` is the name the user gave; ``evaluations`` counts the plans that were scored jointly. ``bound`` is the least
    additive error that any plan within the budget can have, and ``gap`` how far the plan's additive error lies above it,
    as a fraction of the plan's error. Both are None where the exact problem was not solved.
    """

    method: str
    evaluations: int = 0
    bound: float | None = None
    gap: float | None = None
