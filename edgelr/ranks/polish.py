"""Give back what the descent took too much of: raise one layer, or raise one and lower another, while the score rises."""
from __future__ import annotations

import math

import numpy as np

from edgelr.ranks.scorer import Ledger
from edgelr.ranks.space import Move, Space, State, moved

# Batches of moves tried from one state without finding a better one before it counts as polished.
BATCHES = 4


def polish(ledger: Ledger, states: list[State], batch: int) -> State:
    """The best state reached from the given ones (all within the limits, best first) within the ledger's allowance."""
    return min((_climb(ledger, s, batch) for s in states), key=ledger.rank)


def _climb(ledger: Ledger, state: State, batch: int) -> State:
    while ledger.left():
        better = _better(ledger, state, batch)
        if better is None:
            return state
        state = better
    return state


def _better(ledger: Ledger, state: State, batch: int) -> State | None:
    """The best of the first batch, in order of additive gain, that holds a state better than this one."""
    exchanges = _exchanges(ledger.space, state, BATCHES * batch)
    for i in range(0, len(exchanges), batch):
        tried: list[State] = []
        raises = [e[0] for e in exchanges[i : i + batch] if len(e) == 1]
        tried += ledger.score_moves(state, raises)
        for down, up in (e for e in exchanges[i : i + batch] if len(e) == 2):
            tried += ledger.score_moves(moved(state, down), [up])
        better = [s for s in tried if ledger.rank(s)[:2] < ledger.rank(state)[:2]]
        if better:
            return min(better, key=ledger.rank)
    return None


def _exchanges(space: Space, state: State, count: int) -> list[tuple[Move, ...]]:
    """The ``count`` single moves and pairs (down, up) with the most additive gain that stay within the limits."""
    totals = np.array(space.totals(state))
    limits = np.array(space.limits)
    found: list[tuple[float, tuple[Move, ...]]] = []
    ups, downs = [], []
    for move, added, delta in space.changes(state):
        if added <= 0 and (totals + delta <= limits).all():
            found.append((-added, (move,)))
        if added < 0:
            ups.append((move, -added, delta))
        else:
            downs.append((move, added, delta))
    if ups and downs:
        gain = np.array([g for _, g, _ in ups])[:, None] - np.array([a for _, a, _ in downs])[None, :]
        for k, limit in enumerate(limits):
            after = totals[k] + np.array([d[k] for _, _, d in ups])[:, None] + np.array([d[k] for _, _, d in downs])[None, :]
            gain[after > limit] = -math.inf
        same = np.array([m[0] for m, _, _ in ups])[:, None] == np.array([m[0] for m, _, _ in downs])[None, :]
        gain[same] = -math.inf
        flat = gain.ravel()
        for at in np.argsort(-flat, kind="stable")[:count]:
            if flat[at] > -math.inf:
                up, down = ups[int(at) // len(downs)][0], downs[int(at) % len(downs)][0]
                found.append((float(flat[at]), (down, up)))
    found.sort(key=lambda f: (-f[0], f[1]))
    exact = (moves for _, moves in found if space.meets(_after(state, moves)))
    return [moves for moves, _ in zip(exact, range(count), strict=False)]


def _after(state: State, moves: tuple[Move, ...]) -> State:
    for move in moves:
        state = moved(state, move)
    return state
