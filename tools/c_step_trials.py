"""The C step on random problems that are small enough to try everything."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from edgelr.ranks import Table, additive, c_step, error_of, meets, threshold_rank, total
from edgelr.vocabulary import DENSE, Candidate, Choice, Plan

LAYERS = 3  # of a network under a budget: all its plans can be tried


@dataclass(frozen=True)
class OfLayers:
    """On how many layers the closed form finds the best of all ranks, and the share of them that stay dense."""

    equal: int
    dense: float


@dataclass(frozen=True)
class OfNetworks:
    """On how many networks ``c_step`` finds the best of all plans and its median excess of error on the others, the mean share of the
    limit that it leaves, and on how many the additive optimum finds the best."""

    equal: int
    excess: float
    left: float
    additive_equal: int


def spectrum_of(rng: np.random.Generator, full: int) -> np.ndarray:
    """Singular values, falling: exponential ones under an exponential decay of random pace."""
    return np.sort(rng.exponential(size=full) * np.exp(-np.arange(full) * rng.uniform(0, 0.5)))[::-1]


def layers_equal(trials: int, rng: np.random.Generator) -> OfLayers:
    """Random layers at a random price near one of their singular values."""
    equal = stay = 0
    for _ in range(trials):
        full = int(rng.integers(2, 65))
        n = int(rng.integers(full, 9 * full))
        energy, mu = spectrum_of(rng, full) ** 2, 10 ** rng.uniform(-3, 1)
        alpha = mu / 2 * float(rng.choice(energy)) / (full + n) * rng.uniform(0.5, 1.5)
        costs = np.minimum(np.arange(full + 1) * (full + n), full * n)
        tails = np.where(costs < full * n, np.append(energy[::-1].cumsum()[::-1], 0.0), 0.0)
        tried = alpha * costs + mu / 2 * tails
        best = int(tried[1:].argmin()) + 1
        best = full if costs[best] == full * n else best
        found = threshold_rank(np.sqrt(energy).tolist(), full + n, full * n, alpha, mu)
        equal, stay = equal + (found == best), stay + (best == full)
    return OfLayers(equal, stay / trials)


def budgets_equal(trials: int, rng: np.random.Generator) -> OfNetworks:
    """Random networks under a random limit on MACs."""
    equal = exact = 0
    excess, left = [], []
    for _ in range(trials):
        made: Table = {f"l{i}": random_layer(rng) for i in range(LAYERS)}
        limit = rng.uniform(0.35, 0.85) * sum(cs[0].costs["macs"] for cs in made.values())
        limits = {"macs": limit}
        plans = (Plan(dict(zip(made, (c.choice for c in cs), strict=True))) for cs in itertools.product(*made.values()))
        best = min(error_of(p, made) for p in plans if meets(p, made, limits, {}))
        plan = c_step(made, limits, {})
        found = error_of(plan, made)
        equal, exact = equal + (found <= best * (1 + 1e-9)), exact + (additive(made, limits, {}).error <= best * (1 + 1e-6))
        left.append(1 - total(plan, made, {})["macs"] / limit)
        if found > best * (1 + 1e-9):
            excess.append(found / best - 1)
    return OfNetworks(equal, float(np.median(excess or [0.0])), float(np.mean(left)), exact)


def random_layer(rng: np.random.Generator) -> tuple[Candidate, ...]:
    """Eight ranks of a layer of random shape and spectrum, under MACs."""
    full = int(rng.integers(12, 65))
    n, outputs = int(rng.integers(full, 9 * full)), int(rng.choice([1, 4, 16]))
    energy = spectrum_of(rng, full) ** 2
    most = (full * n - 1) // (full + n)
    ranks = sorted({max(1, most * i // 8) for i in range(1, 9)})
    low = (Candidate(Choice("channel", r), {"macs": r * (full + n) * outputs}, float(energy[r:].sum() / energy.sum())) for r in ranks)
    return (Candidate(DENSE, {"macs": full * n * outputs}, 0.0), *low)
