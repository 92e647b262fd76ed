"""The papers' methods on CIFAR-10 (JPEG copy) at equal MACs, epochs, data and start.

    OMP_NUM_THREADS=1 python tools/bench_papers.py resnet20 --cache FOLDER --out docs/benchmarks/papers-resnet20.md

NET is resnet14 (three seeds of every method), resnet20, resnet32 or vgg16. Every method gets the same epochs from the same trained network:
plans are chosen and rates were tried on held-out training images, the last epoch is reported on the test file. What is finished is kept:
the same command goes on. FOLDER holds the decoded images, the dense networks that are trained here, and the files of every cell.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from statistics import mean, stdev
from typing import Any, cast

import torch
from bench_table import Cells, need, parser, publish, table, tell
from papers_data import BATCH, Cifar, Draws, Images, base, loss_of, normalised, read
from papers_plans import Ready, accuracy, ready
from torch import Tensor, nn

from edgelr.devices import measure, open_session
from edgelr.graph import capture
from edgelr.pipeline.files import write
from edgelr.pipeline.precision import Precision
from edgelr.pipeline.produce import run_file
from edgelr.pipeline.settings import TOWARDS_RANKS
from edgelr.pipeline.source import Source
from edgelr.pipeline.training.recipes import Recipe, RecipeName, factorised, for_cut, suited, trained_whole, tuned
from edgelr.quantization import observe
from edgelr.training import LrpetSettings
from edgelr.vocabulary import Format, Plan

FILES = ("data/cifar10_train_jpeg.npz", "data/cifar10_test_jpeg.npz", "models/resnet_cifar.py", "models/resnet20_cifar10.safetensors",
         "models/vgg_cifar.py", "models/vgg16_cifar10.safetensors")  # fmt: skip
FORMATS: tuple[Format, ...] = ("tflite", "onnx")
BETWEEN = 2_000  # images of each part that score a network before its last epoch


@dataclass(frozen=True)
class Job:
    """One network's table. ``images`` an epoch, drawn anew each time from 45,000; ``tested`` images of the test file."""

    shares: tuple[float, ...]
    epochs: int
    images: int
    seeds: int = 1
    tested: int = 10_000
    plans_scored: int = 100


JOBS = {
    "resnet14": Job((0.15,), 3, 10_000, seeds=3),
    "resnet20": Job((0.4, 0.25, 0.15), 3, 10_000),
    "resnet32": Job((0.25,), 3, 10_000, tested=5_000),
    "vgg16": Job((0.15, 0.05), 3, 5_120, tested=4_000, plans_scored=64),
}
METHODS = ("dense", "uniform", "energy", "beam", "bsr", "lc", "lrpet", "joint")
SAID = {
    "dense": "dense, trained on",
    "uniform": "uniform ranks",
    "energy": "ranks by energy",
    "beam": "beam search alone",
    "bsr": "BSR: beam search, modified stable rank",
    "lc": "learning-compression",
    "lrpet": "LRPET at uniform ranks",
    "joint": "joint decomposition",
}
# (method, MMAC, share of dense MACs, test accuracy, dense test accuracy), on the CIFAR-10 that the papers had, after hundreds of epochs.
# LC: read off figure 2 of Idelbayev & Carreira-Perpinan, to about 0.1 points and 2 % of MACs. LRPET: the tables of its repository.
PAPERS = {
    "resnet20": (
        ("LC", 17.4, 0.43, 90.51, 91.65), ("LC", 10.6, 0.26, 89.02, 91.65), ("LC", 8.9, 0.22, 87.11, 91.65),
    ),
    "resnet32": (("LC", 20.0, 0.29, 90.75, 92.86), ("LC", 14.8, 0.21, 89.44, 92.86), ("LC", 12.0, 0.17, 88.48, 92.86)),
    "vgg16": (("LC", 58.0, 0.19, 93.32, 93.44), ("LC", 42.0, 0.13, 92.64, 93.44), ("LRPET", 81.29, 0.26, 93.52, None)),
}  # fmt: skip


@dataclass(eq=False)
class Bench:
    """All that cells of one network share."""

    name: str
    job: Job
    cifar: Cifar
    ready: Ready
    cache: Path
    plans: dict[tuple[str, float], Plan] = field(default_factory=dict)

    @property
    def files(self) -> Path:
        """Where the files of the cells are; those of other epochs than the table's apart."""
        own = JOBS[self.name].epochs == self.job.epochs
        return self.cache / "files" / (self.name if own else f"{self.name}-{self.job.epochs}-epochs")

    def batches(self, seed: int) -> Draws:
        return Draws(self.cifar.train, self.job.images, seed)

    @cached_property
    def dense(self) -> float:
        """Held-out accuracy of the source, as that of networks before their last epoch."""
        return self.scores(self.ready.source.folded, on_the_way=True)["held_out"]

    def split(self, images: Images) -> tuple[list[Tensor], list[Tensor]]:
        x, y = torch.from_numpy(images.x), torch.from_numpy(images.y)
        return [normalised(b) for b in x.split(BATCH)], list(y.split(BATCH))

    def scores(self, net: nn.Module, on_the_way: bool = False) -> dict[str, float]:
        """Accuracy on held-out and test images; of a network that is not the last one on fewer."""
        most = BETWEEN if on_the_way else self.job.tested
        parts = {"held_out": self.cifar.selection.first(min(most, self.job.tested // 2)), "test": self.cifar.test.first(most)}
        return {part: accuracy(net, *self.split(images)) for part, images in parts.items()}


def trained(bench: Bench, method: str, share: float, seed: int) -> dict[str, Any]:
    """One cell: plan, train, truncate, fine-tune, put on the integer grid, write; scores of each stage."""
    source, batches, epochs = bench.ready.source, bench.batches(seed), bench.job.epochs
    recipe = recipe_of(method, source)
    cell: dict[str, Any] = {}

    def told(progress: Any) -> None:
        tell(f"{bench.name} {share} {method} {seed}: {progress}")

    start = time.perf_counter()
    plan = planned(bench, method, share)
    cell["plan_s"] = time.perf_counter() - start
    start = time.perf_counter()
    before = recipe.epochs_before(epochs)
    if before:
        source, plan = trained_whole(source, plan, recipe, batches, before, loss_of, bench.ready.rows(share), told)
        cell["before"] = bench.scores(source.folded, on_the_way=True)
    cell["whole_s"], start = time.perf_counter() - start, time.perf_counter()
    net, _ = factorised(source, plan, lambda: bench.ready.calibration)
    cell["truncated"] = bench.scores(net, on_the_way=True)
    recipe = for_cut(recipe, cell["truncated"]["held_out"] / bench.dense)
    cell["recipe"] = repr(recipe)
    after = replace(batches, seed=seed + 1_000) if before else batches
    net = tuned(net, source, recipe, after, epochs - before, loss_of, told)
    cell["tuned_s"] = time.perf_counter() - start
    cell |= {"final": bench.scores(net), "macs": bench.ready.macs(plan), "params": bench.ready.params(plan), "plan": text(plan)}
    return cell | written(bench, net, f"{method}-{share}-{seed}")


def recipe_of(method: str, source: Source) -> Recipe:
    """As edgelr trains by that method; LRPET projects more often than it does in longer trainings."""
    name = cast(RecipeName, method if method in TOWARDS_RANKS else "finetune")
    return replace(suited(name, source), lrpet=LrpetSettings(every=20))


def planned(bench: Bench, method: str, share: float) -> Plan:
    """The ranks that a method starts from."""
    if method == "dense":
        return Plan()
    by = {"bsr": "beam", "lrpet": "uniform", "lc": "energy"}.get(method, method)
    if (by, share) not in bench.plans:
        bench.plans[by, share] = bench.ready.plan(by, share, bench.job.plans_scored)
    return bench.plans[by, share]


def text(plan: Plan) -> str:
    return ", ".join(f"{name} {choice}" for name, choice in plan.factorised().items())


def written(bench: Bench, net: nn.Module, name: str) -> dict[str, Any]:
    """The network's files, kept in the cache; their bytes, and the test accuracy of the .tflite in LiteRT."""
    graph = capture(net, (3, 32, 32))
    quantized = Precision().quantized(graph, observe(graph, bench.ready.calibration), FORMATS)
    files = write(quantized)
    for format, data in files.items():
        path = bench.files / f"{name}.{format}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    tested = bench.cifar.test.first(bench.job.tested)
    outputs = run_file(files["tflite"], "tflite", tested.split(), graph)
    right = float((outputs.argmax(1) == tested.y).mean())
    return {"int8": right, "bytes": {f: len(d) for f, d in files.items()}}


def timed(bench: Bench, keys: list[str]) -> dict[str, Any]:
    """Every cell's files measured side by side with the dense network's: median ms, and the ratio to dense with its interval."""
    result: dict[str, Any] = {}
    for format in FORMATS:
        sessions = {key: open_session((bench.files / f"{key}.{format}").read_bytes(), format) for key in ("start", *keys)}
        taken = measure(sessions, on="host", rounds=30)
        ratios = {k: taken.ratio(k, "start") for k in keys}
        result[format] = {k: [taken[k].median, r.median, r.low, r.high] for k, r in ratios.items()}
        for session in sessions.values():
            session.close()
    return result


def main() -> None:
    options = parser(__doc__, "papers-NET")
    options.add_argument("net", choices=sorted(JOBS))
    options.add_argument("--cache", type=Path, required=True, help="folder for decoded images, trained networks and files")
    options.add_argument("--shares", type=float, nargs="*", help="only these of the network's shares of MACs, in this run")
    options.add_argument("--epochs", type=int, help="instead of the table's: give it a page of its own")
    options.add_argument("--methods", default=",".join(METHODS), help="which rows; those of other runs are kept")
    chosen = options.parse_args()
    need(chosen.shared, *FILES)
    torch.set_num_threads(1)
    job = JOBS[chosen.net]
    job = replace(job, epochs=chosen.epochs or job.epochs)
    if chosen.quick:
        job = replace(job, shares=job.shares[:1], epochs=2, images=512, seeds=min(job.seeds, 2), tested=256, plans_scored=16)
    cells = Cells(chosen.out, {"net": chosen.net, "job": vars(job), "torch": torch.__version__})
    cifar = read(chosen.shared, chosen.cache)
    net = base(chosen.net, chosen.shared, chosen.cache, cifar)
    methods = [m for m in METHODS if m in chosen.methods.split(",")]
    shares = chosen.shares or job.shares
    wanted = [(m, share if m != "dense" else 1.0, seed) for share in shares for m in methods for seed in range(job.seeds)]
    wanted = list(dict.fromkeys(wanted))
    bench = Bench(chosen.net, job, cifar, ready(chosen.net, net, cifar), chosen.cache)
    if "start" not in cells.done:
        cells.cell("start", lambda: bench.scores(bench.ready.source.folded) | written(bench, bench.ready.source.folded, "start"))
    for method, share, seed in wanted:
        cells.cell(f"{method}-{share}-{seed}", lambda m=method, s=share, n=seed: trained(bench, m, s, n))
    first = [k for k in cells.done if k.endswith("-0") and "final" in cells.done[k]]
    times = cells.cell("times " + " ".join(first), lambda: timed(bench, first))
    report(chosen, job, cells, times)


def report(chosen: Any, job: Job, cells: Cells, times: dict[str, Any]) -> None:
    """The page, of all cells that are finished."""
    dense = cells.done["start"]
    parts = [
        f"Start: test accuracy {dense['test']:.2%} in float, {dense['int8']:.2%} in int8. Every row: {job.epochs} epochs of {job.images:,} "
        f"images drawn anew from 45,000 (shift and flip), batch {BATCH}, SGD with Nesterov's momentum, cosine; rows that train the whole "
        f"network first (BSR, learning-compression, LRPET) use {Recipe('bsr').epochs_before(job.epochs)} of them for it. "
        "Rates as edgelr takes them ([rates](rates.md)). "
        "Last epoch reported, on "
        f"{job.tested:,} test images (\"cut\": before fine-tuning, on {min(BETWEEN, job.tested):,}); ranks chosen on "
        "held-out training images, spatial, channel and linear pairs, factors aware of 512 "
        "training images. int8: the .tflite in LiteRT. Accuracies and ms are measured (ms: LiteRT / "
        "ONNX Runtime, one thread, all files of the page side by side), MACs, parameters and bytes counted. "
        "Joint decomposition shares factors within groups of layers, so it is given the uniform row's parameters, not its MACs. "
        + (f"Mean and standard deviation over {job.seeds} seeds of training." if job.seeds > 1 else "One seed.")
    ]
    for share in job.shares:
        rows = []
        for method in METHODS:
            keys = [f"{method}-{share if method != 'dense' else 1.0}-{n}" for n in range(job.seeds)]
            own, key = [cells.done[k] for k in keys if k in cells.done], keys[0]
            if key not in cells.done:
                continue
            one = own[0]
            ms = " / ".join(f"{times[f][key][0]:.3f} ({times[f][key][1]:.0%})" for f in FORMATS)
            rows.append((
                SAID[method], f"{one['macs'] / 1e6:.2f}", f"{one['params'] / 1e3:.1f}",
                " / ".join(f"{one['bytes'][f] / 1e3:.1f}" for f in FORMATS),
                spread([c["truncated"]["test"] for c in own]), spread([c["final"]["test"] for c in own]),
                spread([c["int8"] for c in own]), ms,
                f"{mean(c['plan_s'] for c in own):.0f} + {mean(c['whole_s'] + c['tuned_s'] for c in own):.0f}",
            ))  # fmt: skip
        head = ("method", "MMAC", "k params", "KB .tflite / .onnx", "cut, %", "test, %", "int8, %", "ms (of dense)", "s: ranks + training")
        parts += [f"## {share:.0%} of MACs", table(head, rows)] if rows else []
    if chosen.net in PAPERS:
        theirs = [
            (method, f"{macs:g} ({share:.0%})", f"{test:.2f}", "" if whole is None else f"{whole:.2f}")
            for method, macs, share, test, whole in PAPERS[chosen.net]
        ]
        parts += [
            "## The papers' own rows",
            "CIFAR-10 itself, not its JPEG copy, and 400 to 1,200 epochs: beside the tables above, not against them. BSR's tables could "
            "not be had; joint decomposition reports on wider ResNets ([counts](counts.md)).",
            table(("method", "MMAC (of dense)", "test, %", "dense, %"), theirs),
        ]
    publish(chosen.out, f"The papers' methods at equal MACs and epochs: {chosen.net}", sum(cells.seconds.values()), chosen.quick, *parts)


def spread(values: list[float]) -> str:
    """Mean and standard deviation over seeds, in per cent."""
    return f"{100 * mean(values):.2f}" + (f" ± {100 * stdev(values):.2f}" if len(values) > 1 else "")


if __name__ == "__main__":
    main()
