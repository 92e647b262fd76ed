"""Which single-layer moves lower the excess over the limits, and by how much."""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edgelr.ranks.space import Move, Space, State, moved


@dataclass(frozen=True)
class Pace:
    """How much excess a move must save, so that the number of levels stays bounded.

    ``step`` is one level. A layer that can save little in all (``savable``, one entry a layer) may go in LAYER_STEPS steps.
    """

    start: float
    step: float
    savable: tuple[float, ...]


# A layer must be able to take a middle rank, or a net of many small layers could only be squeezed to its smallest ranks.
LAYER_STEPS = 3


def pace(space: Space, levels: int) -> Pace:
    """The pace from all dense: at least ``levels`` levels, and more where there are so many layers that each saves little."""
    dense = space.dense
    totals = space.totals(dense)
    start = space.excess(totals)
    savable = [0.0] * len(dense)
    for (layer, _), _, delta in space.changes(dense):
        after = space.excess(tuple(t + d for t, d in zip(totals, delta, strict=True)))
        savable[layer] = max(savable[layer], start - after)
    typical = sum(s * s for s in savable) / (sum(savable) or 1.0)
    return Pace(start, min(start / levels, typical / 2) or start / levels, tuple(savable))


def cheaper(space: Space, state: State, pace: Pace, count: int) -> list[Move]:
    """The moves worth scoring, best first: least additive error added per excess saved.

    For each layer and scheme it is the least error among those that save enough: the next cheaper candidate, several ranks
    further down where ranks are close, or the first one that pays where the layer is dense.
    """
    excess = space.excess(space.totals(state))
    best: dict[tuple[int, str], tuple[float, float, Move]] = {}
    for move, added, saved in _savings(space, state, pace):
        layer, there = move
        enough = min(pace.step, pace.savable[layer] / LAYER_STEPS or pace.step, excess) * (1 - 1e-9)
        key = (layer, space.candidates[layer][there].choice.scheme)
        if saved >= enough and (key not in best or (added, -saved) < best[key][:2]):
            best[key] = (added, -saved, move)
    ranked = sorted(best.values(), key=lambda b: (b[0] / -b[1], b[2]))
    return [move for _, _, move in ranked[:count]]


def complete(space: Space, state: State, pace: Pace) -> State | None:
    """A state that meets the limits, by the best move of all one after the other, unscored. None if it runs into a dead end."""
    while not space.meets(state):
        _, move = min(((added / saved, move) for move, added, saved in _savings(space, state, pace)), default=(0.0, None))
        # Rounding can make a move seem to save; going on then could circle for ever.
        if move is None or space.excess(space.totals(moved(state, move))) >= space.excess(space.totals(state)):
            return None
        state = moved(state, move)
    return state


def _savings(space: Space, state: State, pace: Pace) -> Iterator[tuple[Move, float, float]]:
    """Each move that lowers the excess, with its additive error change and how much excess it saves."""
    totals = space.totals(state)
    excess = space.excess(totals)
    for move, added, delta in space.changes(state):
        saved = excess - space.excess(tuple(t + d for t, d in zip(totals, delta, strict=True)))
        if saved > 1e-12 * pace.start:
            yield move, added, saved
