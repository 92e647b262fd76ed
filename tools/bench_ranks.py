"""ResNet-20 on CIFAR-10 at a third, a half and two thirds of its parameters, without training: which plan keeps most accuracy.

    OMP_NUM_THREADS=1 python tools/bench_ranks.py --out docs/benchmarks/ranks.md

Uniform, energy, additive optimum and beam, with plain and with activation-aware factors, for each scheme. Plans are chosen on
training images that the net never saw, and reported on the test file. Two processes work side by side.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_data import cifar10
from bench_table import Cells, need, parser, publish, table
from nets import resnet20
from scipy.stats import norm

from edgelr.factorize import choice_cost
from edgelr.graph import run
from edgelr.pipeline import candidates
from edgelr.pipeline.prepare import counted_costs
from edgelr.pipeline.scorer import GraphScorer
from edgelr.pipeline.source import first, gathered, inspect
from edgelr.ranks import additive, beam, energy, total, uniform
from edgelr.vocabulary import DENSE, Choice, Plan, Scheme

SHARES = (0.33, 0.5, 0.67)
SCHEMES: tuple[Scheme, ...] = ("channel", "spatial")
METHODS = ("uniform", "energy", "additive", "beam")
STEPS = 4  # ranks are multiples of this
SENSITIVITY = 512  # held-out images on which each choice alone is measured
FILES = ("data/cifar10_train_jpeg.npz", "data/cifar10_test_jpeg.npz", "models/resnet_cifar.py", "models/resnet20_cifar10.safetensors")


@dataclass(frozen=True)
class Work:
    """One kind of factors of one scheme, at every share. Counts of samples, and of plans that the beam may score."""

    shared: Path
    scheme: Scheme
    aware: bool
    shares: tuple[float, ...]
    calibration: int
    selection: int
    test: int
    evaluations: int


def worked(work: Work) -> Iterator[tuple[str, dict[str, Any], float]]:
    """(key, cell, seconds) for each share and method. A cell: parameters, which test images are right, plans scored."""
    torch.set_num_threads(1)
    begun = time.perf_counter()
    data = cifar10(work.shared, work.calibration, work.selection, work.test)
    assert data.validation and data.test and data.calibration
    calibration = data.calibration
    source = inspect("resnet20", resnet20(work.shared).model, (3, 32, 32))
    schemes: tuple[Scheme, ...] = (work.scheme, "linear")
    able, _, _ = candidates.factorisable(source.layers, source.graph, source.folded)
    options = candidates.choices(able, schemes, STEPS, ["params"])
    factors = candidates.Factors(source, aware=work.aware)
    factors.prepare([w for w in able if w.name in options], schemes, lambda: list(first(calibration, work.calibration)))
    x, y = gathered(data.validation, work.selection)
    scorer = GraphScorer(source.graph, x, y, factors.product)
    moves = [(name, choice) for name, found in options.items() for choice in found]
    effects = dict(zip(moves, scorer.divergences(moves, SENSITIVITY), strict=True))

    def effect(name: str, choice: Choice) -> float:
        return effects[name, choice]

    measured = candidates.table(able, options, lambda name, choice: {}, effect)
    tails = candidates.table(able, options, lambda name, choice: {}, factors.error)
    by_name = {layer.name: layer for layer in source.layers}
    inside = sum(choice_cost(by_name[name], DENSE)[0] for name in options)
    base = {"params": counted_costs(source, Plan())["params"] - inside}
    tested = [(b.contiguous(memory_format=torch.channels_last), label) for b, label in data.test.batches(128)]

    def right(plan: Plan) -> str:
        graph = scorer.planned(plan)
        with torch.no_grad():
            hits = np.concatenate([run(graph, b).argmax(1).eq(label).numpy() for b, label in tested])
        return np.packbits(hits).tobytes().hex()

    for share in work.shares:
        limits = {"params": share * source.params}
        plans = {"uniform": uniform(measured, limits, base), "energy": energy(tails, limits, base)}
        plans["additive"] = additive(measured, limits, base).plan
        scored = dict.fromkeys(plans, 0)
        for method in METHODS:
            if method == "beam":
                found = beam(measured, limits, base, scorer, seed_plans=plans.values(), max_evaluations=work.evaluations)
                plans["beam"], scored["beam"] = found.plan, found.evaluations
            cell = {"params": total(plans[method], measured, base)["params"], "right": right(plans[method]), "scored": scored[method]}
            yield f"{share} {work.scheme} {work.aware} {method}", cell, time.perf_counter() - begun
            begun = time.perf_counter()


def into(queue: Any, works: list[Work]) -> None:
    try:
        for work in works:
            for found in worked(work):
                queue.put(found)
        queue.put(None)
    except Exception as error:
        queue.put(repr(error))
        raise


def hits(cell: dict[str, Any], n: int) -> np.ndarray[Any, Any]:
    return np.unpackbits(np.frombuffer(bytes.fromhex(cell["right"]), np.uint8))[:n].astype(bool)


def against(best: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> tuple[float, float]:
    """Points that ``best`` is ahead, and the half width of the 95 % interval, paired by image."""
    difference = best.astype(float) - other
    return 100 * difference.mean(), float(100 * norm.ppf(0.975) * difference.std() / np.sqrt(len(difference)))


def main() -> None:
    options = parser(__doc__, "ranks")
    options.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1), help="work side by side in so many processes")
    chosen = options.parse_args()
    need(chosen.shared, *FILES)
    shares = (0.5,) if chosen.quick else SHARES
    counts = (
        {"calibration": 64, "selection": 64, "test": 128, "evaluations": 64}
        if chosen.quick
        else {"calibration": 512, "selection": 384, "test": 5_000, "evaluations": 100}
    )
    cells = Cells(chosen.out, {**counts, "shares": shares, "torch": torch.__version__})
    works = []
    for aware in (True, False):
        for scheme in SCHEMES:
            left = tuple(s for s in shares if any(f"{s} {scheme} {aware} {m}" not in cells.done for m in METHODS))
            if left:
                works.append(Work(chosen.shared, scheme, aware, left, **counts))
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    start, before = time.perf_counter(), cells.done.get("wall", 0.0)
    parts = [works[i :: chosen.processes] for i in range(chosen.processes)]
    started = [context.Process(target=into, args=(queue, part), daemon=True) for part in parts if part]
    for process in started:
        process.start()
    running = len(started)
    while running:
        found = queue.get()
        if isinstance(found, str):
            raise SystemExit(f"a process failed: {found}; what is finished is kept")
        if found is None:
            running -= 1
            continue
        key, cell, seconds = found
        cells.done["wall"] = before + time.perf_counter() - start
        cells.put(key, cell, lambda seconds=seconds: seconds)
    n = counts["test"]
    rows, ahead = [], []
    for share in shares:
        for scheme in SCHEMES:
            best = cells.done[f"{share} {scheme} True beam"]
            others: dict[str, dict[str, Any]] = {}
            for aware in (False, True):
                found = {m: cells.done[f"{share} {scheme} {aware} {m}"] for m in METHODS}
                rows.append(
                    (
                        f"{share:.0%}",
                        scheme,
                        "activation-aware" if aware else "plain",
                        *(f"{hits(c, n).mean():.2%} ({c['params']:,.0f})" for c in found.values()),
                        found["beam"]["scored"],
                    )
                )
                others |= {f"{m}, {'aware' if aware else 'plain'}": c for m, c in found.items() if not (aware and m == "beam")}
            rival = max(others, key=lambda m: hits(others[m], n).mean())
            lead, noise = against(hits(best, n), hits(others[rival], n))
            verdict = "wins" if lead > noise else "ties" if lead >= -noise else "**loses**"
            ahead.append((f"{share:.0%}", scheme, rival, f"{lead:+.2f} ± {noise:.2f}", verdict))
    publish(
        chosen.out,
        "Which plan keeps most accuracy: ResNet-20 on CIFAR-10 at equal size, no training",
        cells.done.get("wall", 0.0),
        chosen.quick,
        f"Test accuracy of the factorised float network, measured on {n:,} test images (CIFAR-10, JPEG copy); in brackets its parameters, "
        f"counted. Shares are of the source's parameters, ranks are multiples of {STEPS}. Plans were chosen on "
        f"{counts['selection']:,} held-out training "
        f"images, factors made aware by {counts['calibration']} others; a beam may score {counts['evaluations']} plans.",
        table(("share", "scheme", "factors", *METHODS, "plans scored by beam (counted)"), rows),
        "## Beam with activation-aware factors against the best of all others",
        "Points of test accuracy with the 95 % interval, paired by image.",
        table(("share", "scheme", "best other", "points ahead (measured)", "verdict"), ahead),
    )
    cells.finish()


if __name__ == "__main__":
    main()
