"""One error threshold for all layers."""
from __future__ import annotations

from edgelr.ranks.exact import additive
from edgelr.ranks.table import Base, Limits, Table
from edgelr.ranks.threshold import threshold_plan
from edgelr.vocabulary import Plan


def energy(table: Table, limits: Limits, base: Base) -> Plan:
    """Each layer at its cheapest candidate whose error stays within one common threshold: the smallest that meets the limits.

    This is the hard threshold on tail energy of LC's C step (Idelbayev and Carreira-Perpinan, CVPR 2020, eq. 5), the common
    score of AIMET's greedy selection, and Rank-Tuning's p (Maison et al., arXiv 2310.12688), on the table's errors.

    Where several limits hold and no threshold meets them all, the additive optimum is returned.
    Raises BudgetError if no plan meets the limits.
    """
    return threshold_plan(table, limits, base) or additive(table, limits, base).plan
