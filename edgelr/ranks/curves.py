"""How low each layer can go alone: scores of its candidates, from cheap to dear, with all others dense."""
from __future__ import annotations

import math
from collections.abc import Sequence

from edgelr.ranks.scorer import Ledger
from edgelr.ranks.space import Space, State, moved
from edgelr.vocabulary import Choice

SCAN_SHARE = 0.7  # of the evaluations; what comes after the scan has the rest
SCANNED_AT_ONCE = 4  # a scan ends at the first rank that costs nothing: a whole ladder at once would score many beyond it
ROUNDING = 1e-12  # by which a score may miss its floor: scores are sums of floats


class Curves:
    """Scores of every layer's candidates with all others dense, each ladder from cheap to dear until one scores what dense does."""

    def __init__(self, ledger: Ledger, ladders: Sequence[Sequence[int]], enough: float) -> None:
        self.ledger, self.ladders = ledger, ladders
        dense = ledger.space.dense
        allowance = int(SCAN_SHARE * ledger.max_evaluations) + 1
        for layer, ladder in enumerate(ladders):
            for k in range(0, len(ladder), SCANNED_AT_ONCE):
                scored = ledger.score_moves(dense, [(layer, i) for i in ladder[k : k + SCANNED_AT_ONCE]], allowance)
                if any(ledger.scores[s] >= enough - ROUNDING for s in scored):
                    break

    def _score(self, layer: int, candidate: int) -> float:
        return self.ledger.scores.get(moved(self.ledger.space.dense, (layer, candidate)), -math.inf)

    def thresholds(self) -> list[float]:
        """Every score that a layer alone has: between two of them no plan changes. Lowest first."""
        return sorted({self._score(n, i) for n, ladder in enumerate(self.ladders) for i in ladder} - {-math.inf})

    def alone(self, threshold: float) -> State:
        """Each layer at its cheapest candidate that alone scores the threshold, dense where none does."""
        state = self.ledger.space.dense
        for n, ladder in enumerate(self.ladders):
            first = next((i for i in ladder if self._score(n, i) >= threshold - ROUNDING), None)
            state = state if first is None else moved(state, (n, first))
        return state

    def told(self) -> dict[str, tuple[tuple[Choice, float], ...]]:
        """The scanned choices and their scores, for each layer."""
        space = self.ledger.space
        rows = [[(i, self._score(n, i)) for i in ladder] for n, ladder in enumerate(self.ladders)]
        return {name: tuple((space.candidates[n][i].choice, s) for i, s in row if s > -math.inf)
                for n, (name, row) in enumerate(zip(space.layers, rows, strict=True))}


def prices_of(space: Space, price: str | None) -> list[list[float]]:
    """What each candidate of each layer costs: ``price``, or all limited costs, each as a share of what can be saved of it."""
    weights = space.weights if price is None else [float(k == price) for k in space.kinds]
    return [[math.fsum(w * c for w, c in zip(weights, costs, strict=True)) for costs in layer] for layer in space.costs]


def price_of(prices: Sequence[Sequence[float]], state: State) -> float:
    """What a state costs."""
    return math.fsum(p[i] for p, i in zip(prices, state, strict=True))


def ladders(space: Space, prices: Sequence[Sequence[float]], guarded: bool) -> list[list[int]]:
    """Each layer's candidates that cost less than dense, cheapest first; ``guarded``: and no more than dense in any limited cost."""
    found = []
    for n, dense in enumerate(space.dense):
        saving = [i for i, p in enumerate(prices[n]) if p < prices[n][dense]]
        if guarded:
            saving = [i for i in saving if all(a <= b for a, b in zip(space.costs[n][i], space.costs[n][dense], strict=True))]
        found.append(sorted(saving, key=lambda i: (prices[n][i], space.candidates[n][i].error)))
    return found


def thinned(ladders: Sequence[Sequence[int]], most: int) -> list[Sequence[int]]:
    """Every k-th candidate, from the cheapest on, so that no more than ``most`` are left (one of each layer at least)."""
    each = 1
    while each < max(map(len, ladders), default=1) and sum(len(ladder[::each]) for ladder in ladders) > most:
        each += 1
    return [ladder[::each] for ladder in ladders]
