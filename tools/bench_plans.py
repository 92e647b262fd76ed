"""Budgets in milliseconds on boards that are not at hand: what each target's table chooses, against plans made by MACs alone.

    OMP_NUM_THREADS=1 python tools/bench_plans.py --out docs/benchmarks/plans.md

ResNet-20 on CIFAR-10 (trained) and ResNet-18 at 224x224 (random weights, so its score is agreement with itself) on three targets.
The budget is a share of the dense int8 network's simulated time. A plan by MACs is searched under the largest limit on MACs whose plan
keeps the same simulated time: it gets to know the time only through that one number. Nothing is trained; scores are of the float network.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import nets
import numpy as np
import torch
from bench_compress import resnet18 as photos_resnet18
from bench_data import cifar10, photos
from bench_table import Cells, need, parser, publish, table, tell

from edgelr.data import Data, Split
from edgelr.factorize import choice_cost
from edgelr.graph import Graph, run
from edgelr.pipeline import Settings, candidates
from edgelr.pipeline.files import draft
from edgelr.pipeline.log import Log
from edgelr.pipeline.machine import machine_of, place_of
from edgelr.pipeline.precision import Precision
from edgelr.pipeline.prepare import counted_costs
from edgelr.pipeline.pricing import priced
from edgelr.pipeline.scorer import GraphScorer
from edgelr.pipeline.search import Searcher, affordable_samples
from edgelr.pipeline.source import Source, first, gathered, inspect
from edgelr.ranks import Table, additive, error_of, total
from edgelr.vocabulary import DENSE, Plan

TARGETS = ("raspberry-pi-4", "raspberry-pi-5", "pixel-7")
SHARE = 0.7
HALVINGS = 7
FILES = ("data/cifar10_train_jpeg.npz", "data/cifar10_test_jpeg.npz", "models/resnet_cifar.py", "models/resnet20_cifar10.safetensors",
         "models/imagenet_nets.py", "data/imagenet_like600.npz")


@dataclass(frozen=True)
class Net:
    name: str
    method: str
    source: Source
    data: Data
    labelled: bool
    views: int = 1  # test samples that are of one photo and count as one, side by side


class Views:
    """Ten of each photo: whole and its four corners (seven eighths of the side), each also mirrored; the same size all."""

    COUNT = 10

    def __init__(self, photos: Split) -> None:
        self.photos = photos

    def __len__(self) -> int:
        return self.COUNT * len(self.photos)

    def __getitem__(self, index: int) -> np.ndarray[Any, Any]:
        number, view = divmod(index, self.COUNT)
        photo = torch.from_numpy(np.array(self.photos.x[number]))
        corner, mirrored = divmod(view, 2)
        side = photo.shape[-1]
        if corner:
            part, (down, right) = side * 7 // 8, divmod(corner - 1, 2)
            y, x = down * (side - part), right * (side - part)
            cut = photo[None, :, y : y + part, x : x + part]
            photo = torch.nn.functional.interpolate(cut, (side, side), mode="bilinear", align_corners=False)[0]
        return np.asarray((photo.flip(-1) if mirrored else photo).numpy())


def networks(shared: Path, quick: bool) -> Iterator[Net]:
    """The networks with their data; choices are made on validation, scores told on test samples."""
    data = cifar10(shared, 64, 64, 128) if quick else cifar10(shared, 512, 1000, 10_000)
    yield Net("ResNet-20", "beam", inspect("resnet20", nets.resnet20(shared).model, (3, 32, 32)), data, True)
    data = photos(shared, *((8, 8, 16) if quick else (100, 200, 300)), labelled=False)
    assert data.test
    seen = replace(data, test=Split(Views(data.test)))
    yield Net("ResNet-18", "additive", inspect("resnet18", photos_resnet18(shared, data), (3, 224, 224)), seen, False, Views.COUNT)


def rows_of(net: Net, shared: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """A row for each target and kind of plan: (key, cell)."""
    source, settings = net.source, Settings(method=net.method, formats=("tflite",), score_samples=1000)  # type: ignore[arg-type]
    assert net.data.calibration and net.data.validation and net.data.test
    calibration = net.data.calibration
    factors = candidates.Factors(source)
    able, _, factors.factors = candidates.factorisable(source.layers, source.graph, source.folded)
    steps = min(place_of(t).target.rank_steps["litert"] for t in TARGETS)
    options = candidates.choices(able, settings.schemes, steps, ["us:litert"])
    factors.prepare([w for w in able if w.name in options], settings.schemes, lambda: list(first(calibration, 512)))
    x, y = gathered(net.data.validation, affordable_samples(1000, source.macs or 1))
    scorer = GraphScorer(source.graph, x, y if net.labelled else None, factors.product)
    searcher = Searcher(net.method, scorer, factors, source.macs or 1)
    tell(f"{net.name}: what each of {sum(map(len, options.values()))} choices does to the outputs")
    searcher.prepare(options)
    by_name = {layer.name: layer for layer in source.layers}
    inside = sum(choice_cost(by_name[n], DENSE)[1] for n in options)
    wanted = answers(net, net.source.graph) if not net.labelled else [int(n) for _, y in net.data.test.batches(100) for n in y]  # type: ignore[union-attr]
    scored: dict[str, list[float]] = {}
    for target in TARGETS:
        place = place_of(target)
        machine = machine_of(place, ("tflite",))
        precision = Precision({}, weight_max=place.target.weight_max)
        dense = draft(source.graph, ("tflite",), precision)
        prices = priced(source, options, factors, settings, machine, precision, dense, Log(tell))["litert"]
        base = {"us": prices.base_us, "macs": counted_costs(source, Plan())["macs"] - inside}
        rows = candidates.table(able, options, lambda n, c, p=prices: {"us": p.us[n, c]}, searcher.error)  # type: ignore[misc]
        dense_us = prices.predicted_us(Plan(), options)
        limit = SHARE * dense_us
        plans = {"dense": Plan(dict.fromkeys(options, DENSE)), "by its table": searcher.find(rows, {"us": limit}, base)[0]}
        plans["by MACs"] = by_macs(rows, base, limit, lambda most, r=rows, b=base: searcher.find(r, {"macs": most}, b)[0])  # type: ignore[misc]
        for kind, plan in plans.items():
            costs, text = total(plan, rows, base), str(plan)
            if text not in scored:
                scored[text] = score(net, answers(net, scorer.planned(plan)), wanted)
            cell = {"ms": costs["us"] / 1e3, "dense_ms": dense_us / 1e3, "macs": costs["macs"], "layers": len(plan.factorised()),
                    "error": error_of(plan, rows), "right": scored[text], "band": machine.band("tflite"),
                    "plan": {n: str(c) for n, c in plan.factorised().items()}}
            tell(f"  {target} {kind}: {cell['ms']:.3f} ms, {fmean(cell['right']):.2%}")
            yield f"{net.name} {target} {kind}", cell


def by_macs(rows: Table, base: Mapping[str, float], limit_us: float, find: Callable[[float], Plan]) -> Plan:
    """The plan under the largest limit on MACs that keeps the time: halved on quick plans, then searched as the other was."""
    most = total(Plan(dict.fromkeys(rows, DENSE)), rows, base)["macs"]
    low, high = base["macs"], most
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        try:
            late = total(additive(rows, {"macs": middle}, base).plan, rows, base)["us"] > limit_us
        except Exception:  # no plan with so few MACs
            late = False
        low, high = (low, middle) if late else (middle, high)
    while True:
        plan = find(low)
        if total(plan, rows, base)["us"] <= limit_us * 1.001:
            return plan
        low *= 0.97


def answers(net: Net, graph: Graph) -> list[int]:
    """The class of each test sample."""
    assert net.data.test
    with torch.no_grad():
        return [int(n) for x, _ in net.data.test.batches(100) for n in run(graph, x).argmax(1)]


def score(net: Net, given: Sequence[int], wanted: Sequence[int]) -> list[float]:
    """Of each test image, the share of its views whose class is the one wanted."""
    right = [float(a == b) for a, b in zip(given, wanted, strict=True)]
    return [fmean(right[i : i + net.views]) for i in range(0, len(right), net.views)]


def ahead(one: list[float], other: list[float]) -> str:
    """Points that the first is ahead by, with the 95 % interval, paired by image."""
    apart = [a - b for a, b in zip(one, other, strict=True)]
    return f"{100 * fmean(apart):+.1f} ± {196 * stdev(apart) / len(apart) ** 0.5:.1f}"


def main() -> None:
    options = parser(__doc__, "plans")
    options.add_argument("--networks", nargs="*", default=["ResNet-20", "ResNet-18"], help="which of the two")
    chosen = options.parse_args()
    need(chosen.shared, *FILES)
    start = time.perf_counter()
    cells = Cells(chosen.out, {"quick": chosen.quick, "targets": TARGETS, "share": SHARE})
    for net in networks(chosen.shared, chosen.quick):
        wanted = [f"{net.name} {t} {k}" for t in TARGETS for k in ("dense", "by its table", "by MACs")]
        if net.name in chosen.networks and not all(key in cells.done for key in wanted):
            begun = time.perf_counter()
            for key, cell in rows_of(net, chosen.shared):
                seconds, begun = time.perf_counter() - begun, time.perf_counter()
                cells.put(key, cell, lambda took=seconds: took)  # type: ignore[misc]
    told, differ = [], []
    for key, c in cells.done.items():
        name, target, kind = key.split(" ", 2)
        times = f"{c['ms']:.3f}", f"{c['ms'] / c['dense_ms']:.1%}"
        points = ahead(c["right"], cells.done[f"{name} {target} by MACs"]["right"]) if kind == "by its table" else ""
        told.append((name, target, kind, *times, f"{c['macs'] / 1e6:.1f}", c["layers"], f"{fmean(c['right']):.2%}", points))
        if kind == "by its table":
            differ.append((name, target, ", ".join(f"{n} {p}" for n, p in c["plan"].items())))
    publish(
        chosen.out, "Plans by a target's table, and by MACs alone", max(sum(cells.seconds.values()), time.perf_counter() - start),
        chosen.quick,
        f"Budget: {SHARE:.0%} of the dense int8 network's simulated time in LiteRT, one thread, on each target. ResNet-20: accuracy on "
        "CIFAR-10's test images (JPEG copy), beam search. ResNet-18: random weights, agreement with the dense network on ten views of each "
        "photo (whole and four corners, each also mirrored), additive optimum. Scores: measured, float, nothing trained; ahead: paired by "
        "image (a photo's views are one), 95 % interval. Times: simulated by the shipped tables, see the targets' pages for their error.",
        table(("network", "target", "plan", "ms (simulated)", "of dense", "MMACs (counted)", "layers factorised", "score",
               "ahead of MACs, points"), told),
        "## The plans by table", table(("network", "target", "factorised"), differ),
    )


if __name__ == "__main__":
    main()
