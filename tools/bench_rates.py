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
from bench_papers import JOBS, SAID, Bench, planned, recipe_of
from bench_table import Cells, need, parser, publish, table, tell
from papers_data import base, loss_of, read
from papers_plans import accuracy, ready

from edgelr.pipeline.training.recipes import Recipe, factorised, trained_whole, tuned

FILES = ("data/cifar10_train_jpeg.npz", "data/cifar10_test_jpeg.npz", "models/resnet_cifar.py", "models/vgg_cifar.py")
AFTER = (0.0015, 0.005, 0.015, 0.05)
Change = Callable[[Recipe], Recipe]


def before(rate: float) -> Change:
    return lambda recipe: replace(recipe, rate_before=rate)


def bsr(**changes: Any) -> Change:
    return lambda recipe: replace(recipe, bsr=replace(recipe.bsr, **changes))


WAYS: dict[str, dict[str, Change]] = {  # rows: what is other than edgelr takes it
    "beam": {"": lambda recipe: recipe},
    "bsr": {
        "": lambda recipe: recipe, "whole at 0.015": before(0.015), "whole at 0.15": before(0.15),
        "reach 2": bsr(reach=2.0), "reach 8": bsr(reach=8.0), "reach 72": bsr(reach=72.0),
    },
    "lc": {"": lambda recipe: recipe, "whole at 0.015": before(0.015)},
    "lrpet": {"": lambda recipe: recipe},
}  # fmt: skip
SCORED = 5_000  # held-out images


def scored(bench: Bench, net: Any) -> float:
    return accuracy(net, *bench.split(bench.cifar.selection.first(SCORED)))


def by_rate(bench: Bench, method: str, share: float, change: Change, name: str) -> dict[str, float]:
    """Held-out accuracy when cut, and by the rate of the factors; the whole network is trained once."""
    source, batches, epochs = bench.ready.source, bench.batches(0), bench.job.epochs
    recipe, plan = change(recipe_of(method, source)), planned(bench, method, share)
    whole = recipe.epochs_before(epochs)
    if whole:
        source, plan = trained_whole(source, plan, recipe, batches, whole, loss_of, bench.ready.rows(share), told(name))
    net, _ = factorised(source, plan, lambda: bench.ready.calibration)
    found = {"cut": scored(bench, net)}
    after = replace(batches, seed=1_000) if whole else batches
    for rate in AFTER:
        made = tuned(net, source, replace(recipe, rate=rate), after, epochs - whole, loss_of, told(f"{name}, factors at {rate}"))
        found[f"{rate:g}"] = scored(bench, made)
    tell(f"{name}: {found}")
    return found


def told(name: str) -> Callable[[Any], None]:
    return lambda progress: tell(f"{name}: {progress}")


def main() -> None:
    options = parser(__doc__, "rates")
    options.add_argument("net", choices=sorted(JOBS))
    options.add_argument("--cache", type=Path, required=True, help="folder for decoded images and trained networks")
    options.add_argument("--share", type=float, help="of the dense network's MACs")
    options.add_argument("--epochs", type=int, help="instead of the table's")
    options.add_argument("--plain", action="store_true", help="only as edgelr trains the whole network, at each rate of the factors")
    options.add_argument("--methods", default="beam,bsr,lc,lrpet")
    chosen = options.parse_args()
    need(chosen.shared, *FILES)
    torch.set_num_threads(1)
    job = JOBS[chosen.net]
    job = replace(job, shares=(chosen.share or job.shares[-1],), epochs=chosen.epochs or job.epochs)
    if chosen.quick:
        job = replace(job, epochs=2, images=512, plans_scored=16)
    cells = Cells(chosen.out, {"net": chosen.net, "job": vars(job), "torch": torch.__version__})
    cifar = read(chosen.shared, chosen.cache)
    bench = Bench(chosen.net, job, cifar, ready(chosen.net, base(chosen.net, chosen.shared, chosen.cache, cifar), cifar), chosen.cache)
    parts = []
    for method in chosen.methods.split(","):
        title, rows = SAID[method], []
        for way, change in list(WAYS[method].items())[: 1 if chosen.plain else None]:
            name = f"{method} {way}".strip()
            found = cells.cell(name, lambda m=method, c=change, n=name: by_rate(bench, m, job.shares[0], c, n))
            rows.append((way or "as edgelr trains", *(f"{100 * v:.2f}" for v in found.values())))
        parts += [f"## {title}", table(("whole network", "cut, %", *(f"factors at {r:g}, %" for r in AFTER)), rows)]
    whole = Recipe("bsr").epochs_before(job.epochs)
    publish(
        chosen.out, f"Learning rates of the recipes: {chosen.net}", sum(cells.seconds.values()), chosen.quick,
        f"Held-out accuracy, measured on {SCORED:,} training images that no network is trained on, at {job.shares[0]:.0%} of the dense "
        f"network's MACs. {job.epochs} epochs of {job.images:,} images (shift, flip), batch 128, one seed; SGD with Nesterov's momentum, "
        f"cosine from the rate shown. Fine-tuning alone gets all epochs, the others train the whole network in {whole} of them.",
        *parts,
    )  # fmt: skip
    cells.finish()


if __name__ == "__main__":
    main()
