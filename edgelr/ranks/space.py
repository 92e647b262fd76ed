"""The states of the search: one candidate index for each layer, layers in the order of their names."""
from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from edgelr.ranks.table import Base, Limits, Table, find, prune, weights
from edgelr.vocabulary import DENSE, Candidate, Choice, Plan

State = tuple[int, ...]
Move = tuple[int, int]  # layer index, candidate index


def moved(state: State, move: Move) -> State:
    layer, candidate = move
    return (*state[:layer], candidate, *state[layer + 1 :])


@dataclass(frozen=True)
class Space:
    """A table in a fixed order, so that a search does not depend on the order of dictionaries.

    ``offered`` holds, for each layer, the candidates that survive pruning: moves lead only to these.
    """

    layers: tuple[str, ...]
    candidates: tuple[tuple[Candidate, ...], ...]
    offered: tuple[tuple[int, ...], ...]
    kinds: tuple[str, ...]
    limits: tuple[float, ...]
    base: tuple[float, ...]
    weights: tuple[float, ...]
    costs: tuple[tuple[tuple[float, ...], ...], ...]  # [layer][candidate][kind]

    @staticmethod
    def of(table: Table, limits: Limits, base: Base) -> Space:
        layers = tuple(sorted(table))
        ordered = {n: tuple(sorted(table[n], key=lambda c: (c.error, c.choice.scheme, c.choice.rank or 0))) for n in layers}
        kept = prune(ordered, limits)
        kinds = tuple(sorted(limits))
        scale = weights(ordered, limits)
        return Space(
            layers=layers,
            candidates=tuple(ordered.values()),
            offered=tuple(tuple(i for i, c in enumerate(ordered[n]) if c in kept[n]) for n in layers),
            kinds=kinds,
            limits=tuple(limits[k] for k in kinds),
            base=tuple(base.get(k, 0.0) for k in kinds),
            weights=tuple(scale[k] for k in kinds),
            costs=tuple(tuple(tuple(c.costs[k] for k in kinds) for c in ordered[n]) for n in layers),
        )

    @property
    def dense(self) -> State:
        return tuple(next(i for i, c in enumerate(cs) if c.choice == DENSE) for cs in self.candidates)

    def plan(self, state: State) -> Plan:
        return Plan({n: cs[i].choice for n, cs, i in zip(self.layers, self.candidates, state, strict=True)})

    def state(self, plan: Plan) -> State:
        """Raises EdgelrError if the plan has a choice that is not in the table."""
        for layer in plan.factorised():
            if layer not in self.layers:
                find({}, layer, plan[layer])
        rows = zip(self.layers, self.candidates, strict=True)
        return tuple(cs.index(find({n: cs}, n, plan[n])) for n, cs in rows)

    def named(self, move: Move) -> tuple[str, Choice]:
        return self.layers[move[0]], self.candidates[move[0]][move[1]].choice

    def totals(self, state: State) -> tuple[float, ...]:
        rows = [cs[i] for cs, i in zip(self.costs, state, strict=True)]
        return tuple(math.fsum([b, *(row[k] for row in rows)]) for k, b in enumerate(self.base))

    def meets(self, state: State) -> bool:
        return all(t <= limit for t, limit in zip(self.totals(state), self.limits, strict=True))

    def error(self, state: State) -> float:
        return math.fsum(cs[i].error for cs, i in zip(self.candidates, state, strict=True))

    def excess(self, totals: tuple[float, ...]) -> float:
        """How far totals lie above the limits: each as a share of what can be saved of its cost, summed."""
        return math.fsum(w * max(0.0, t - limit) for w, t, limit in zip(self.weights, totals, self.limits, strict=True))

    def changes(self, state: State) -> Iterator[tuple[Move, float, tuple[float, ...]]]:
        """Every move from a state with its additive error change and its cost changes."""
        for layer, here in enumerate(state):
            costs = self.costs[layer]
            for there in self.offered[layer]:
                if there != here:
                    delta = tuple(b - a for a, b in zip(costs[here], costs[there], strict=True))
                    yield (layer, there), self.candidates[layer][there].error - self.candidates[layer][here].error, delta
