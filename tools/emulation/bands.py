"""How wrong simulated times are to be expected: by published times that took no part in the rates that predicted them."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from core_pairs import Multiple, multiple
from fitting import Key, fitted, key_of, predicted_ms
from published import Published, rows
from rates import CORES, Vector

QUANTILE = 0.8
ENOUGH = 4
# Few files of few families can't promise more. Two boards of one core differ by 9 to 15 % (Raspberry Pi 4 and RK3399, ncnn's table); times
# fitted in one runtime were up to 40 % off in another, and ONNX Runtime's are hardly published.
LEAST = {"litert": 0.15, "onnxruntime": 0.25}
LEAST_RATIO = 0.08


@dataclass(frozen=True)
class Band:
    """What four of five stay within, as a share of what was simulated: ``whole`` a network's time, ``ratio`` the ratio of two of them."""

    whole: float
    ratio: float
    words: str


def band_of(core: str, runtime: str, counts: Mapping[Key, Vector]) -> Band:
    """From the core's own rows where there are at least four, else from all cores'; never below ``LEAST``."""
    every = [r for r in rows() if fitted(r) and key_of(r) in counts]
    own = [r for r in every if r.core == core]
    used = own if len(own) >= ENOUGH else every
    whose = f"{len(used)} times of XNNPACK published for {core.upper() if used is own else 'other cores (none of this one)'}"
    found = _round_up([abs(r.ms / predicted_ms(r, counts) - 1) for r in used])
    of_litert = "" if runtime == "litert" else ": LiteRT's, ONNX Runtime's are hardly published"
    between, like = between_cores(core), CORES[core].like.upper()
    apart = f"; and, as independent of that, the {between.whole:.0%} that four of five networks are off their multiple of {like}'s cycles"
    return Band(
        max(_both(found, between.whole), LEAST[runtime]), max(_both(_round_up(_ratios(used, counts)), between.ratio), LEAST_RATIO),
        f"four of five are within {found:.0%}: {whose}, against rates that no time of the same publisher was fitted to{of_litert}"
        f"{apart if between.whole else ''}; never "
        f"taken below {LEAST[runtime]:.0%}, which boards of one core differ by" + ("" if runtime == "litert" else " and runtimes more"),
    )  # fmt: skip


@dataclass(frozen=True)
class Between:
    """What four of five networks stay within of ``told`` times another core's cycles, and every two of the ratio of these."""

    told: Multiple
    whole: float
    ratio: float


def between_cores(core: str) -> Between:
    """Of a core and the one that it is priced like; nothing for any other."""
    told = multiple(core, CORES[core].like)
    return Between(told, _round_up(told.errors), _round_up(told.ratio_errors))


def _ratios(used: Sequence[Published], counts: Mapping[Key, Vector]) -> list[float]:
    """Errors of the ratio of two networks' times, for every two that differ in nothing else."""
    share = {r: predicted_ms(r, counts) / r.ms for r in used}
    alike = ((a, b) for a, b in permutations(used, 2) if (a.device, a.source, a.numbers) == (b.device, b.source, b.numbers))
    return [abs(share[a] / share[b] - 1) for a, b in alike]


def _both(one: float, other: float) -> float:
    """Two errors that don't know of each other."""
    return float(np.ceil(round(100 * np.hypot(one, other), 6)) / 100)


def _round_up(errors: Sequence[float]) -> float:
    return float(np.ceil(100 * np.quantile(errors, QUANTILE)) / 100) if errors else 0.0
