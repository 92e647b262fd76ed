"""Which learning rates the recipes are run at: held-out accuracy by rate, of the whole network and of its factors.

    OMP_NUM_THREADS=1 python tools/bench_rates.py resnet14 --cache FOLDER --out docs/benchmarks/rates.md

CIFAR-10 (JPEG copy), at the table's share of MACs; epochs and images as in bench_papers.py. Test images take no part: this is where rates
are chosen that the papers' tables are then run with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from bench_papers import JOBS, RECIPES, SAID, Bench, planned
from bench_table import Cells, need, parser, publish, table, tell
from papers_data import base, loss_of, read
from papers_plans import accuracy, ready

from edgelr.pipeline.training.recipes import factorised, trained_whole, tuned

FILES = ("data/cifar10_train_jpeg.npz", "data/cifar10_test_jpeg.npz", "models/resnet_cifar.py", "models/vgg_cifar.py")
BEFORE = {"bsr": (0.005, 0.015, 0.05, 0.15), "lc": (0.005, 0.015, 0.05, 0.15), "lrpet": (0.005, 0.03, 0.1)}
AFTER = (0.0015, 0.005, 0.015, 0.05)
ALONE = (0.005, 0.015, 0.05, 0.1)
SCORED = 5_000


def scored(bench: Bench, net: Any) -> float:
    return accuracy(net, *bench.split(bench.cifar.selection.first(SCORED)))


def by_rate(bench: Bench, method: str, share: float, rate_before: float | None) -> dict[str, float]:
    """Held-out accuracy when cut, and by the rate of the factors; the whole network is trained once, at ``rate_before``."""
    recipe, batches, epochs = RECIPES.get(method, RECIPES["finetune"]), bench.batches(0), bench.job.epochs
    source, plan, before = bench.ready.source, planned(bench, method, share), recipe.epochs_before(epochs)
    if rate_before is not None:
        recipe = replace(recipe, rate_before=rate_before)
        name, rows = f"{method} {rate_before}", bench.ready.rows(share)
        source, plan = trained_whole(source, plan, recipe, batches, before, loss_of, rows, told(name))
    net, _ = factorised(source, plan, lambda: bench.ready.calibration)
    found = {"cut": scored(bench, net)}
    after = replace(batches, seed=1_000) if before else batches
    for rate in AFTER if before else ALONE:
        made = tuned(net, source, replace(recipe, rate=rate), after, epochs - before, loss_of, told(f"{method} {rate_before} {rate}"))
        found[f"{rate:g}"] = scored(bench, made)
        tell(f"{method} {rate_before} {rate}: {found[f'{rate:g}']:.2%}")
    return found


def told(name: str) -> Callable[[Any], None]:
    return lambda progress: tell(f"{name}: {progress}")


def main() -> None:
    options = parser(__doc__, "rates")
    options.add_argument("net", choices=sorted(JOBS))
    options.add_argument("--cache", type=Path, required=True, help="folder for decoded images and trained networks")
    options.add_argument("--share", type=float, help="of the dense network's MACs")
    options.add_argument("--epochs", type=int, help="instead of the table's")
    options.add_argument("--before", type=float, nargs="*", help="only these rates of the whole network")
    options.add_argument("--methods", default="beam,bsr,lc,lrpet")
    chosen = options.parse_args()
    need(chosen.shared, *FILES)
    torch.set_num_threads(1)
    job = JOBS[chosen.net]
    job = replace(job, shares=(chosen.share or job.shares[-1],), epochs=chosen.epochs or job.epochs)
    if chosen.quick:
        job = replace(job, epochs=2, images=512, plans_scored=16)
    cells = Cells(chosen.out, {"net": chosen.net, "job": vars(job), "rates": [BEFORE, AFTER, ALONE], "torch": torch.__version__})
    cifar = read(chosen.shared, chosen.cache)
    bench = Bench(chosen.net, job, cifar, ready(chosen.net, base(chosen.net, chosen.shared, chosen.cache, cifar), cifar), chosen.cache)
    parts = []
    for method in chosen.methods.split(","):
        rows = []
        rates = BEFORE.get(method, (None,))
        for rate in [r for r in rates if r is None or not chosen.before or r in chosen.before]:
            found = cells.cell(f"{method} {rate}", lambda m=method, r=rate: by_rate(bench, m, job.shares[0], r))
            rows.append(("" if rate is None else f"{rate:g}", *(f"{100 * v:.2f}" for v in found.values())))
        heads = [f"factors at {k}, %" for k in found if k != "cut"]
        parts += [f"## {SAID[method]}", table(("rate of the whole network", "cut, %", *heads), rows)]
    before = RECIPES["bsr"].epochs_before(job.epochs)
    publish(
        chosen.out, f"Learning rates of the recipes: {chosen.net}", sum(cells.seconds.values()), chosen.quick,
        f"Held-out accuracy, measured on {SCORED:,} training images that no network is trained on, at {job.shares[0]:.0%} of the dense "
        f"network's MACs. {job.epochs} epochs of {job.images:,} images (shift, flip), batch 128, one seed; SGD with Nesterov's momentum, "
        f"cosine from the rate shown. Fine-tuning alone gets all epochs, the others train the whole network in {before} of them.",
        *parts,
    )  # fmt: skip
    cells.finish()


if __name__ == "__main__":
    main()
