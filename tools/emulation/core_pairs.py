"""What a core takes of another's cycles, by networks that others timed on both in one runtime: for cores that no emulator here has."""
from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from statistics import geometric_mean, median

FILE = Path(__file__).with_name("core_pairs.tsv")
Network = tuple[str, str]  # its name, its numbers
Cycles = dict[Network, float]


@dataclass(frozen=True)
class Multiple:
    """``times`` another core's cycles: the geometric mean of each chip's median (``by_chip``).

    ``errors``: of each network's cycles by it; ``ratio_errors``: of the ratio of every two on one chip in the same numbers.
    """

    times: float
    by_chip: Mapping[str, float]
    errors: tuple[float, ...]
    ratio_errors: tuple[float, ...]


def multiple(core: str, of: str, file: Path = FILE) -> Multiple:
    """Once, where nothing was published.

    A chip timed on both cores is compared with itself, another with the mean of those timed on ``of`` alone.
    """
    found = {chip: ratios for chip, ratios in _ratios(core, of, _timed(file)).items() if ratios}
    if not found:
        return Multiple(1.0, {}, (), ())
    by_chip = {chip: median(ratios.values()) for chip, ratios in found.items()}
    times = geometric_mean(by_chip.values())
    pairs = [(r[a], r[b]) for r in found.values() for a, b in permutations(r, 2) if a[1] == b[1]]
    return Multiple(times, by_chip, tuple(abs(times / x - 1) for r in found.values() for x in r.values()),
                    tuple(abs(x / y - 1) for x, y in pairs))  # fmt: skip


def _timed(file: Path) -> dict[tuple[str, str], dict[str, Cycles]]:
    """Megacycles of networks by source and chip, by core."""
    found: dict[tuple[str, str], dict[str, Cycles]] = defaultdict(lambda: defaultdict(dict))
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    for r in csv.DictReader(lines, delimiter="\t"):
        found[r["source"], r["chip"]][r["core"]][r["network"], r["numbers"]] = float(r["ms"]) * float(r["ghz"])
    return found


def _ratios(core: str, of: str, timed: Mapping[tuple[str, str], Mapping[str, Cycles]]) -> dict[str, Cycles]:
    found = {}
    for (source, chip), cores in timed.items():
        if core not in cores:
            continue
        others = [c[of] for (s, _), c in timed.items() if s == source and set(c) == {of}]
        found[chip] = _over(cores[core], [cores[of]] if of in cores else others)
    return found


def _over(own: Cycles, others: list[Cycles]) -> Cycles:
    """Networks that all have."""
    shared = [n for n in own if others and all(n in o for o in others)]
    return {n: own[n] / geometric_mean(o[n] for o in others) for n in shared}
