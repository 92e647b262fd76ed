"""A monotone surface through scattered times: never cheaper where a size is larger, and met where a time is known.

Three monotone functions of the sizes make it: a sum of products of sizes with non-negative coefficients (what the kernel's loops cost), and
the tightest bounds that the known times put on any monotone function that grows at most so fast (G. Beliakov, "Monotonicity preserving
approximation of multivariate scattered data", BIT Numerical Mathematics 45, 2005). Constant-weighted geometric means, minima and maxima of
monotone functions are monotone, so the surface is by construction.
"""
from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog, nnls

Floats = NDArray[np.float64]

_FOLDS = 10
_SHARES = (1.0, 0.75, 0.5, 0.25, 0.0)  # of the sum of products, in a geometric mean with the middle of the bounds
_LEAST_US = 1e-3  # merged operations cost 0; relative errors need something
_HULL_TOLERANCE = 0.1  # in natural logarithms of sizes: about 10 %
_DEPTH = 8  # products that a kernel adds up at once, at most
_TILES = (1, 4, 5, 6, 7, 8, 16)  # rows or pixels that a kernel takes at once, in XNNPACK and MLAS
_CACHES = (2**14, 2**17, 2**20)  # numbers: weights beyond a cache are read again for each tile of rows
_ROBUST = 3
_CALM = 0.03  # relative errors below which a row counts fully; a disturbed one counts less


class Surface:
    """Fitted to ``us`` at ``places`` [n, d] (sizes from 1). ``stepped`` is the coordinate with the kernel's ``step``, if any has one,
    ``tiled`` the one that kernels take in tiles: rows or pixels.

    ``floor_us`` is what a time can't be told from nothing by: errors are relative to the time and this together.
    ``left_out`` are the relative errors of points left out (the sum of products refitted without a tenth of them, bounds without each),
    ``error`` is their mean.
    ``smoothing``: by how many us each point's time had to change for the surface to be monotone.
    """

    def __init__(
        self,
        places: Sequence[Sequence[int]],
        us: Sequence[float],
        *,
        step: int = 1,
        stepped: int | None = None,
        tiled: int | None = None,
        floor_us: float = 0.0,
    ) -> None:
        self._step, self._stepped, self._tiled, self._tile = max(step, 1), stepped, tiled, 1
        self._floor_us = max(floor_us, _LEAST_US)
        points = self._on_step(np.asarray(places, np.float64).reshape(len(places), -1))
        self._logs = np.log(points)
        known = np.log(np.asarray(us, np.float64) + self._floor_us)
        self._known = _isotonic(self._logs, known)
        self.smoothing: tuple[float, ...] = tuple((np.exp(self._known) - np.exp(known)).tolist())
        self._growth = _growth(self._logs, self._known)
        features = self._best_tiles(points)
        self._scale = np.maximum(features.max(axis=0), 1e-12)
        self._weights = _fit(features / self._scale, self._known)
        self._share, self.left_out = self._leave_out(features / self._scale)
        self.error = float(np.mean(self.left_out))
        self._low, self._high = self._logs.min(axis=0), self._logs.max(axis=0)

    def us(self, place: Sequence[int]) -> float:
        """The time at a place. Monotone in every coordinate."""
        point = self._on_step(np.asarray(place, np.float64))
        low, high = self._bounds(np.log(point))
        fitted = float(np.log(max(float(self._features(point) / self._scale @ self._weights), 1e-12)))
        together = np.exp(min(max(self._share * fitted + (1 - self._share) * (low + high) / 2, low), high))
        return max(float(together) - self._floor_us, 0.0)

    def within(self, place: Sequence[int]) -> bool:
        """Whether the place lies among the known ones: in their box, a kernel's step allowed, and in their convex hull, 10 % allowed."""
        log = np.log(self._on_step(np.asarray(place, np.float64)))
        slack = np.full(len(log), _HULL_TOLERANCE)
        if self._stepped is not None:
            edge = np.exp(self._high[self._stepped])
            slack[self._stepped] = np.log((edge + self._step) / edge)
        if np.any(log > self._high + slack + 1e-9) or np.any(log < self._low - slack - 1e-9):
            return False
        if np.abs(self._logs - log).max(axis=1).min() <= _HULL_TOLERANCE:
            return True
        heavy = 100.0  # the shares add up to 1: a row of the least squares that weighs more than the rest
        corners = np.vstack([self._logs.T, np.full(len(self._logs), heavy)])
        _, distance = nnls(corners, np.append(log, heavy), maxiter=10 * len(self._logs) + 100)
        return bool(distance <= _HULL_TOLERANCE)

    def _on_step(self, points: Floats) -> Floats:
        """Coordinates with output channels as the kernel sees them: rounded up to its step."""
        if self._stepped is None:
            return points
        rounded = points.copy()
        rounded[..., self._stepped] = np.ceil(points[..., self._stepped] / self._step) * self._step
        return rounded

    def _best_tiles(self, points: Floats) -> Floats:
        """The features of all points with the tile that explains the times best, which is kept."""
        if self._tiled is None or len(points) < 3 * len(_TILES):
            return np.stack([self._features(p) for p in points])
        times, found = np.exp(self._known), []
        for tile in _TILES:
            self._tile = tile
            features = np.stack([self._features(p) for p in points])
            scaled = features / np.maximum(features.max(axis=0), 1e-12)
            weights = _weights(scaled, times, np.ones(len(times)))
            found.append((float(np.abs(scaled @ weights / times - 1).sum()), tile, features))
        _, self._tile, best = min(found, key=lambda f: f[:2])
        return best

    def _features(self, point: Floats) -> Floats:
        """Products of any of the sizes, each as it is or rounded up to tiles; and weights beyond caches, alone and for each tile."""
        ways, tiles_of_rows = [], 1.0
        for i, size in enumerate(point):
            tiles = (2 * self._step, 4 * self._step) if i == self._stepped else (self._tile if i == self._tiled else _DEPTH,)
            ways.append([1.0, size, *(np.ceil(size / t) * t for t in tiles if t > 1)])
            if i == self._tiled:
                tiles_of_rows = float(np.ceil(size / self._tile))
        features = [float(np.prod(way)) for way in product(*ways)]
        if self._tiled is not None and self._stepped is not None:
            weights = float(np.prod(point) / point[self._tiled])
            over = [max(weights - cache, 0.0) for cache in _CACHES]
            features = [*over, *(o * tiles_of_rows for o in over), *features]  # the product of all stays the last one
        return np.array(features)

    def _bounds(self, log: Floats) -> tuple[float, float]:
        apart = log - self._logs
        low = float(np.max(self._known - np.maximum(-apart, 0) @ self._growth))
        return low, float(np.min(self._known + np.maximum(apart, 0) @ self._growth))

    def _leave_out(self, features: Floats) -> tuple[float, tuple[float, ...]]:
        """The share that predicts points left out best, and its errors."""
        n = len(self._known)
        if n < 3:
            return 1.0, (1.0,) * n
        fitted = np.empty(n)
        for fold in range(min(_FOLDS, n)):
            out = np.arange(n) % _FOLDS == fold
            weights = _fit(features[~out], self._known[~out])
            fitted[out] = np.log(np.maximum(features[out] @ weights, 1e-12))
        apart = self._logs[:, None] - self._logs[None]
        others = np.where(np.eye(n, dtype=bool), np.inf, 0.0)
        high = (self._known[None] + np.maximum(apart, 0) @ self._growth + others).min(axis=1)
        low = (self._known[None] - np.maximum(-apart, 0) @ self._growth - others).max(axis=1)
        errors = []
        for share in _SHARES:
            guess = np.minimum(np.maximum(share * fitted + (1 - share) * (low + high) / 2, low), high)
            errors.append(np.abs(np.expm1(guess - self._known)))
        best = int(np.argmin([e.mean() for e in errors]))
        return _SHARES[best], tuple(errors[best].tolist())


def _isotonic(logs: Floats, known: Floats) -> Floats:
    """Times of which none is smaller than one at smaller sizes: the mean of the running maximum from below and the minimum from above."""
    below = np.all(logs[:, None] >= logs[None] - 1e-9, axis=2)  # [i, j]: j is nowhere larger than i
    most = np.where(below, known[None], -np.inf).max(axis=1)
    least = np.where(below.T, known[None], np.inf).min(axis=1)
    smooth: Floats = (most + least) / 2
    return smooth


def _growth(logs: Floats, known: Floats) -> Floats:
    """For each coordinate how fast a time grows at most, as a power of the size: at least 1, and more where the known times do."""
    n, d = logs.shape
    apart = np.maximum(logs[:, None] - logs[None], 0).reshape(n * n, d)
    rise = (known[:, None] - known[None]).reshape(n * n)
    steep = rise > apart.sum(axis=1) + 1e-9
    if not steep.any():
        return np.ones(d)
    found = linprog(np.ones(d), A_ub=-apart[steep], b_ub=-rise[steep], bounds=[(1.0, None)] * d, method="highs")
    growth: Floats = found.x + 1e-9 if found.status == 0 else np.full(d, 1e3)
    return growth


def _fit(features: Floats, known: Floats) -> Floats:
    """Non-negative coefficients with small relative errors: least squares, again with rows that are far off counting less."""
    times = np.exp(known)
    if len(times) < 3:  # too few to tell what costs what: proportional to the work
        weights = np.zeros(features.shape[1])
        weights[-1] = float(np.mean(times / features[:, -1]))
        return weights
    count = np.ones(len(times))
    for _ in range(_ROBUST):
        weights = _weights(features, times, count)
        count = 1 / np.sqrt(np.maximum(np.abs(features @ weights / times - 1), _CALM) / _CALM)
    return _weights(features, times, count)


def _weights(features: Floats, times: Floats, count: Floats) -> Floats:
    distinct = np.unique(np.round(features, 12), axis=1, return_index=True)[1]
    some, _ = nnls(features[:, distinct] * (count / times)[:, None], count, maxiter=100 * len(distinct))
    weights = np.zeros(features.shape[1])
    weights[distinct] = some
    return weights
