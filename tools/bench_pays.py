"""What pays on a device: which method gives the best network at half of the dense int8 latency, and whether a VGG can beat a ResNet there.

    OMP_NUM_THREADS=1 python tools/bench_pays.py --cache FOLDER --out docs/benchmarks/pays.md

Latencies of Raspberry Pis are their shipped tables' (simulated), those of host are measured. Every finished cell is kept: the same command
goes on. FOLDER holds the decoded images (as of bench_papers.py) and the files of every cell.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from bench_table import Cells, need, parser, publish, table, tell
from nets import fit_batch_norm
from paper_nets import imagenet_resnet, thin_resnet
from papers_data import BATCH, Cifar, Draws, Images, base, normalised, read
from pays_plans import METHODS, Ground, Place, right
from torch import Tensor, nn
from torch.nn import functional as F

from edgelr.graph import Graph, capture
from edgelr.pipeline.files import draft, write
from edgelr.pipeline.machine import machine_of, place_of
from edgelr.pipeline.precision import Precision
from edgelr.pipeline.prepare import counted_costs
from edgelr.pipeline.produce import run_file
from edgelr.pipeline.recipes import Recipe, tuned
from edgelr.pipeline.source import inspect
from edgelr.quantization import observe
from edgelr.training import Batch
from edgelr.vocabulary import Format, Plan

TARGETS = ("raspberry-pi-4", "raspberry-pi-5", "host")
SHARE = 0.5
RIVALS = ("ResNet-56", "ResNet-20")
FORMATS: tuple[Format, ...] = ("tflite", "onnx")
SENSITIVITY = 16  # held-out images on which each choice alone is measured
Told = tuple[object, ...]
STEPS = 8  # the finest rank step of the targets' LiteRT kernels
FILES = ("data/cifar10_train_jpeg.npz", "data/cifar10_test_jpeg.npz", "models/vgg_cifar.py", "models/vgg16_cifar10.safetensors",
         "models/resnet_cifar.py", "models/resnet20_cifar10.safetensors")  # fmt: skip


@dataclass(frozen=True)
class Counts:
    """Images: trained on in one epoch, scored before training, tested at the end, calibrated on."""

    trained: int
    selection: int = 1000
    tested: int = 2000
    calibration: int = 128


def loss_of(net: nn.Module) -> Callable[[Batch], Tensor]:
    """Cross entropy with the labels, the network in bfloat16."""

    def loss(batch: Batch) -> Tensor:
        x, y = batch
        assert y is not None
        with torch.autocast("cpu", torch.bfloat16):
            made = net(x)
        return F.cross_entropy(made.float(), y)

    return loss


def tensors(images: Images) -> tuple[Tensor, Tensor]:
    return normalised(torch.from_numpy(images.x)), torch.from_numpy(images.y)


@dataclass
class Bench:
    """VGG-16 with its images."""

    ground: Ground
    cifar: Cifar
    counts: Counts
    cells: Cells
    cache: Path

    def tuned(self, plan: Plan) -> dict[str, Any]:
        """A plan's accuracy before and after one epoch of fine-tuning, of the .tflite in LiteRT after it; the same plan is trained once."""
        found: dict[str, Any] = self.cells.cell(f"plan {text(plan)}", lambda: self._tuned(plan))
        return found

    def _tuned(self, plan: Plan) -> dict[str, Any]:
        net = self.ground.built(plan)
        before = right(net, *tensors(self.cifar.selection.first(self.counts.selection)))
        batches = Draws(self.cifar.train, self.counts.trained)
        if plan.factorised():
            net = tuned(net, self.ground.source, Recipe(), batches, 1, loss_of, lambda p: tell(f"  {p}"))
        graph = capture(net, (3, 32, 32))
        calibration = tensors(self.cifar.train.first(self.counts.calibration))[0]
        files = write(Precision().quantized(graph, observe(graph, torch.split(calibration, BATCH)), FORMATS))
        tested = self.cifar.test.first(self.counts.tested)
        outputs = run_file(files["tflite"], "tflite", tested.split(), graph)
        name = f"{len(list(self.cache.glob('pays-*.tflite'))):03d}"
        for format, data in files.items():
            (self.cache / f"pays-{name}.{format}").write_bytes(data)
        return {"file": name, "before": before, "int8": float((outputs.argmax(1) == tested.y).mean()),
                "kb": len(files["tflite"]) / 1e3, "macs": counted_costs(self.ground.source, plan)["macs"]}  # fmt: skip


def text(plan: Plan) -> str:
    return ", ".join(f"{name} {choice}" for name, choice in sorted(plan.factorised().items())) or "dense"


def halves(name: str, ground: Ground, places: dict[str, Place], cells: Cells, bench: Bench | None) -> Iterator[Told]:
    """A row for each target and method at half the latency."""
    for target, place in places.items():
        for method in METHODS:
            key = f"{name} {target} {method}"
            if key not in cells.done:
                start = time.perf_counter()
                plan = ground.plan(method, place, SHARE * place.dense_us)
                cells.put(key, described(ground, place, plan, bench), lambda t=start: time.perf_counter() - t)  # type: ignore[misc]
            c = cells.done[key]
            if c is None:
                yield target, method, "no plan", "", "", "", "", ""
                continue
            after = (f"{c['before']:.2%}", f"{c['int8']:.2%}") if bench else ("", "")
            times = f"{c['ms']:.3f} ({c['ms'] / c['dense_ms']:.0%})"
            yield target, method, times, f"{c['macs'] / 1e6:.1f}", f"{c['kb']:.0f}", f"{c['kept']:.1%}", *after


def described(ground: Ground, place: Place, plan: Plan | None, bench: Bench | None) -> dict[str, Any] | None:
    """What a plan is and does; its latency that of the file as a whole."""
    if plan is None:
        return None
    made: dict[str, Any] = bench.tuned(plan) if bench else {"macs": counted_costs(ground.source, plan)["macs"]}
    graph = capture(ground.built(plan), ground.source.shape)
    graphs = {"dense": ground.source.graph, "plan": graph}
    files = {k: draft(g, ("tflite",), place.precision)["tflite"] for k, g in graphs.items()}
    taken = place.machine.together(files, "tflite", rounds=30)
    ms = {k: taken.timings[k].median for k in files}
    told = {"ms": ms["plan"], "dense_ms": ms["dense"], "planned_ms": place.prices.predicted_us(plain(plan), ground.options) / 1e3}
    return {**made, **told, "kb": len(files["plan"]) / 1e3, "kept": ground.kept(plan), "layers": len(plan.factorised()), "plan": text(plan)}


def plain(plan: Plan) -> Plan:
    """The plan without its shares, as prices know it."""
    return Plan({n: replace(c, share=None) for n, c in plan.choices.items()})


def rivals(bench: Bench, places: dict[str, Place], cells: Cells) -> tuple[list[Told], list[Told]]:
    """Latencies of the dense networks on every target in both formats, and VGG-16 made as fast as each rival in LiteRT."""
    networks = {"VGG-16": bench.ground.source.graph}
    networks |= {f"ResNet-{d}": inspect(f"resnet{d}", seeded(lambda d=d: thin_resnet(d, "B"), 32), (3, 32, 32)).graph for d in (20, 56)}  # type: ignore[misc]
    dense: list[Told] = []
    beaten: list[Told] = []
    for target, place in places.items():
        cell = cells.cell(f"dense {target}", lambda t=target: dense_ms(networks, t))  # type: ignore[misc]
        dense += [(target, n, *(f"{cell[f][n]:.3f}" for f in FORMATS)) for n in networks]
        for rival in RIVALS:
            limit_us = 1e3 * cell["tflite"][rival]
            c = cells.cell(f"faster {target} {rival}", lambda t=target, p=place, u=limit_us: as_fast(bench, t, p, u))  # type: ignore[misc]
            rivals_ms = f"{cell['tflite'][rival]:.3f} / {cell['onnx'][rival]:.3f}"
            if c is None:
                beaten.append((target, rival, rivals_ms, "no plan", "", "", ""))
                continue
            own_ms, macs = f"{c['ms']:.3f} / {c['onnx_ms']:.3f}", f"{c['macs'] / 1e6:.1f}"
            beaten.append((target, rival, rivals_ms, own_ms, macs, f"{c['before']:.2%}", f"{c['int8']:.2%}"))
    return dense, beaten


def dense_ms(networks: dict[str, Graph], target: str) -> dict[str, dict[str, float]]:
    """The median of each network in each format on a target."""
    result: dict[str, dict[str, float]] = {}
    for format in FORMATS:
        files = {n: draft(g, (format,), Precision())[format] for n, g in networks.items()}
        taken = machine_of(place_of(target), (format,)).together(files, format, rounds=30)
        result[format] = {n: taken.timings[n].median for n in networks}
    return result


def as_fast(bench: Bench, target: str, place: Place, limit_us: float) -> dict[str, Any] | None:
    """VGG-16 within a rival's time in LiteRT, and what it then takes in ONNX Runtime."""
    plan = bench.ground.plan("learning-compression", place, limit_us)
    found = described(bench.ground, place, plan, bench)
    if found is None:
        return None
    data = (bench.cache / f"pays-{found['file']}.onnx").read_bytes()
    onnx = machine_of(place_of(target), ("onnx",)).together({"plan": data}, "onnx", rounds=30)
    return {**found, "onnx_ms": onnx.timings["plan"].median}


def seeded(build: Callable[[], nn.Module], side: int) -> nn.Module:
    """Random weights, with batch norm statistics that fit them: for latencies."""
    torch.manual_seed(0)
    return fit_batch_norm(build(), (torch.randn(4, 3, side, side) for _ in range(2)))


def int8_of(net: nn.Module, bench: Bench) -> float:
    """Accuracy of a dense network's .tflite in LiteRT."""
    graph = capture(inspect("net", net, (3, 32, 32)).folded, (3, 32, 32))
    calibration = tensors(bench.cifar.train.first(bench.counts.calibration))[0]
    file = write(Precision().quantized(graph, observe(graph, torch.split(calibration, BATCH)), ("tflite",)))["tflite"]
    tested = bench.cifar.test.first(bench.counts.tested)
    return float((run_file(file, "tflite", tested.split(), graph).argmax(1) == tested.y).mean())


def main() -> None:
    options = parser(__doc__, "pays")
    options.add_argument("--cache", type=Path, required=True, help="folder for decoded images and files")
    options.add_argument("--images", type=int, default=10_000, help="images of the one epoch of fine-tuning")
    chosen = options.parse_args()
    need(chosen.shared, *FILES)
    torch.set_num_threads(1)
    counts = Counts(256, 100, 100, 64) if chosen.quick else Counts(chosen.images)
    cells = Cells(chosen.out, {"quick": chosen.quick, "counts": vars(counts), "torch": torch.__version__})
    cifar = read(chosen.shared, chosen.cache)
    vgg = Ground(inspect("vgg16", base("vgg16", chosen.shared, chosen.cache, cifar), (3, 32, 32)), STEPS)
    vgg.measure_effects(*tensors(cifar.selection.first(SENSITIVITY)), cells)
    bench = Bench(vgg, cifar, counts, cells, chosen.cache)
    resnet20 = base("resnet20", chosen.shared, chosen.cache, cifar)
    scores = cells.cell("dense int8", lambda: {"VGG-16": int8_of(vgg.source.plain, bench), "ResNet-20": int8_of(resnet20, bench)})
    places = {t: vgg.place(t, cells) for t in TARGETS}
    dense, beaten = rivals(bench, places, cells)
    at_half = list(halves("VGG-16", vgg, places, cells, bench))
    net = seeded(lambda: imagenet_resnet(18), 224)
    wide = Ground(inspect("resnet18", net, (3, 224, 224)), STEPS)
    wide_half = list(halves("ResNet-18", wide, {t: wide.place(t, cells) for t in TARGETS}, cells, None))
    report(chosen, cells, counts, scores, at_half, wide_half, dense, beaten)


def report(
    chosen: Any,
    cells: Cells,
    counts: Counts,
    scores: dict[str, float],
    at_half: list[Told],
    wide_half: list[Told],
    dense: list[Told],
    beaten: list[Told],
) -> None:
    head = ("target", "ranks by", "ms (of dense)", "MMACs", "KB", "energy kept")
    publish(
        chosen.out,
        "What pays on a device",
        sum(cells.seconds.values()),
        chosen.quick,
        f"Plans at {SHARE:.0%} of the dense int8 network's latency in LiteRT, one thread. Raspberry Pi: simulated by the shipped tables "
        "(their errors are on the targets' pages); host: measured, plan and dense network in turn. ms are those of the file as a whole; a "
        "plan is chosen by the sum of its layers' prices, so that it can lie a little beside the limit. Energy kept: of the weights, mean "
        "of all layers that could be factorised. uniform, energy and learning-compression (one direct C step) weigh each layer by its own "
        "weights, additive by what each choice alone does to the outputs; shared: layers of a group have one factor in common, ranks by "
        "the C step. Decompositions are of the weights alone.",
        "## VGG-16, CIFAR-10",
        f"Trained weights; int8 of the dense network: {scores['VGG-16']:.2%}. Before: float, {counts.selection:,} held-out training "
        f"images, no training. After: one epoch of {counts.trained:,} images, the .tflite in LiteRT on {counts.tested:,} test images.",
        table((*head, "before (measured)", "after, int8 (measured)"), at_half),
        "## ResNet-18, 224 x 224",
        "Random weights: there is no accuracy, and agreement with the dense network would say nothing of a trained one. The table shows "
        "which plans meet the limit and how much of the weights' energy they keep; spectra of trained weights fall faster. Without outputs "
        "that mean something, additive weighs each layer by its own weights here.",
        table(head, [row[:6] for row in wide_half]),
        "## A VGG faster than a ResNet",
        "The first paper's claim (VGG-16 has 6.7 % error at 58 MMACs, ResNet-56 6.6 % at 125), put to the test in int8 milliseconds. Dense "
        "networks:",
        table(("target", "network", "LiteRT ms", "ONNX Runtime ms"), dense),
        f"VGG-16 at most as slow in LiteRT as the rival (C step on latency, one epoch of {counts.trained:,} images). Int8 accuracy of the "
        f"rivals: ResNet-20 {scores['ResNet-20']:.2%}; ResNet-56 was not trained here (He et al.: 93.03 %, float). LiteRT / ONNX Runtime.",
        table(("target", "rival", "rival's ms", "VGG-16's ms", "its MMACs", "before", "after, int8 (measured)"), beaten),
    )


if __name__ == "__main__":
    main()
