"""Simulated times of whole networks against times that others published and that took no part in their fit.

    python tools/bench_simulated.py --environments FOLDER --cache FOLDER --out docs/benchmarks/simulated.md

Needs Debian's qemu-user and gcc; Arm's Python and wheels are put into --environments (300 MB), counts are kept in --cache: an interrupted
run goes on where it was. --rates FILE writes the fitted rates that the shipped tables are made with.
"""
from __future__ import annotations

import re
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from bench_table import parser, publish, table, tell

sys.path.insert(0, str(Path(__file__).resolve().parent / "emulation"))

from baselines import calibrated, macs_ms, roofline_ms
from fitting import FITTED, counts_of, key_of, predicted_ms, rates_of
from inside import sums
from networks import REFERENCES
from published import Published, rows, sources
from rates import CORES

MODELS = ("simulated", "MACs alone", "roofline")
Row = tuple[Published, tuple[float, float, float]]  # what each model says, in ms


def said(row: Published, among: Sequence[Published], counts: Mapping[Any, Any]) -> Row:
    return row, (predicted_ms(row, counts), calibrated(macs_ms, row, among), calibrated(roofline_ms, row, among))


def error(ms: float, published: float) -> float:
    return ms / published - 1


def summary(found: Sequence[Row]) -> tuple[str, ...]:
    """Median and worst of each model."""
    cells = []
    for k in range(len(MODELS)):
        errors = np.abs([error(ms[k], r.ms) for r, ms in found])
        cells.append(f"{np.median(errors):.0%} / {errors.max():.0%}")
    return tuple(cells)


def correlation(found: Sequence[Row], k: int) -> float:
    from scipy.stats import spearmanr

    return float(spearmanr([r.ms for r, _ in found], [ms[k] for _, ms in found]).statistic)


def three_points(found: Sequence[Row], k: int) -> tuple[float, float]:
    """Median and worst error of a grid once one factor was fitted to its smallest, middle and largest row, on all others."""
    ordered = sorted(found, key=lambda f: f[0].ms)
    chosen = {0, len(ordered) // 2, len(ordered) - 1}
    shares = np.array([ordered[i][1][k] / ordered[i][0].ms for i in chosen])
    factor = shares.sum() / (shares**2).sum()  # least squares on the relative error
    errors = np.abs([error(factor * ms[k], r.ms) for i, (r, ms) in enumerate(ordered) if i not in chosen])
    return float(np.median(errors)), float(errors.max())


def grouped(found: Sequence[Row], by: Callable[[Published], tuple[Any, ...]]) -> dict[tuple[Any, ...], list[Row]]:
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for f in found:
        groups[by(f[0])].append(f)
    return dict(sorted(groups.items()))


def family(network: str) -> str:
    """A network's name without its width, its number and its resolution: "mobilenet_v1_0.5/128" is of "mobilenet_v1"."""
    return re.sub(r"(_\d\.\d+|(?<=lite)\d)?/\d+$", "", network)


def grids(found: Sequence[Row]) -> dict[tuple[Any, ...], list[Row]]:
    """Rows that differ in nothing but the network, five at least."""
    same = grouped(found, lambda r: (r.device, r.numbers, f"{r.threads}", r.source, family(r.network)))
    return {k: v for k, v in same.items() if len(v) >= 5}


def pages(found: Sequence[Row]) -> list[str]:
    """The tables: by device, by grid, by row."""
    by_device = [(d, len(v), *summary(v)) for (d,), v in grouped(found, lambda r: (r.device,)).items()]
    by_source = [(s, d, n, t, len(v), *summary(v)) for (s, d, n, t), v in
                 grouped(found, lambda r: (r.source, r.device, r.numbers, r.threads)).items()]
    by_grid = []
    for (device, numbers, threads, source, family), v in grids(found).items():
        after = [three_points(v, k) for k in range(len(MODELS))]
        by_grid.append((device, f"{family}, {numbers}", threads, source, len(v), *(f"{correlation(v, k):.3f}" for k in range(len(MODELS))),
                        *(f"{m:.0%} / {w:.0%}" for m, w in after)))
    by_row = [(r.device, r.network, r.numbers, r.threads, f"{r.ms:g}", f"{ms[0]:.1f}", *(f"{error(m, r.ms):+.0%}" for m in ms), r.source)
              for r, ms in sorted(found, key=lambda f: (f[0].device, f[0].source, f[0].threads, f[0].numbers, REFERENCES[f[0].network].macs,
                                                        f[0].network))]
    return [
        "## By device", table(("device", "rows", *(f"{m}: median / worst" for m in MODELS)), by_device),
        "## By source", table(("source", "device", "numbers", "threads", "rows", *(f"{m}: median / worst" for m in MODELS)), by_source),
        "## Grids: order, and what three measurements give",
        table(("device", "grid", "threads", "source", "rows", *(f"{m}: rank correlation" for m in MODELS),
               *(f"{m}, one factor from 3 rows: median / worst of the rest" for m in MODELS)), by_grid),
        "## Row by row", table(("device", "network", "numbers", "threads", "published, ms", "simulated, ms", *MODELS, "source"), by_row),
    ]


def main() -> None:
    options = parser(__doc__, "simulated")
    options.add_argument("--environments", type=Path, required=True, help="folder of the emulated systems; kept, and used again")
    options.add_argument("--cache", type=Path, required=True, help="folder of counts; kept, and used again")
    chosen = options.parse_args()
    start = time.perf_counter()
    every = rows()
    wanted = sorted({key_of(r) for r in every}, key=lambda k: (k[1] == "float", REFERENCES[k[0]].size, k))
    counts = counts_of(wanted[:6] if chosen.quick else wanted, chosen.environments, chosen.cache, tell)
    found = [said(r, every, counts) for r in every if key_of(r) in counts]
    fits = [(core, CORES[core].kernels, *(f"{v:.2f}" for v in rates_of(core, counts).vector), CORES[core].on) for core in sorted(CORES)]
    whole = [] if chosen.quick else sums(lambda core: rates_of(core, counts), chosen.environments, chosen.cache, tell)
    added = [(s.target, s.runtime, s.network, s.numbers, f"{s.whole_ms:.2f}", f"{s.priced_ms:.2f}", f"{s.priced_ms / s.whole_ms - 1:+.1%}",
              f"{s.beyond:.0%}") for s in whole]  # fmt: skip
    publish(
        chosen.out, "Simulated times against published ones", time.perf_counter() - start, chosen.quick,
        f"{len(found)} published times, each against a simulated one. A simulated time is what a network's file does on an emulated core "
        "(instructions by class, lines between caches: exact counts of ai-edge-litert 2.3.0's kernels) times cycles for each, over the "
        f"clock. The cycles start from ncnn's published times and are fitted to the one-thread rows of {', '.join(FITTED)}; **no "
        "prediction uses rates or speed-ups that the row's own publisher took part in**. Four threads: one thread's time over the median "
        "speed-up that others published for the core. MACs alone and the roofline get one factor for each core and number format from the "
        "same rows.",
        "Most of these times are of other kernels than those counted: TFLite of 2018 to 2020 (slim, hosted, lite, measurement, "
        "page-2018), ExecuTorch, XNNPACK of 2020 and 2022. What is off by the same factor over a whole grid is off for that reason; three "
        "measurements of one's own board take it out (`edgelr table calibrate`).",
        "Chosen after published rows had been seen, and so flattered: that A75 runs A72's kernels; one rate for both kinds of MACs on A53, "
        "where two gave float MACs for nothing; 32-bit kernels on four threads (xnnpack-2022-armv7) standing in for A53's missing rows; "
        "that MobileNetV3 takes no part in the fit (edgelr spells hard-swish as four operations in float, a quarter of its time).",
        *pages(found),
        "## Priced by the shipped tables, against the whole network's own counts",
        "Both simulated: what pricing operation by operation adds to the error. The tables were built without these networks; the grid has "
        "the shapes that ResNets repeat.",
        table(("target", "runtime", "network", "numbers", "whole, ms", "sum of prices, ms", "error", "priced beyond the rows"), added),
        "## Cycles for each event",
        table(("core", "kernels of", "float MAC", "int MAC", "other", "L1 line", "L2 line", "before the fit"), fits),
        "## Sources", "\n".join(f"- {name}: {what}" for name, what in sources().items()),
    )  # fmt: skip


if __name__ == "__main__":
    main()
