"""What pays on a device: which method gives the best network at half of the dense int8 latency, and whether a VGG can beat a ResNet there.

    OMP_NUM_THREADS=1 python tools/bench_pays.py --cache FOLDER --out docs/benchmarks/pays.md

Latencies of Raspberry Pis are their shipped tables' (simulated), those of host are measured. Every finished cell is kept: the same command
goes on. FOLDER holds the decoded images (as of bench_papers.py) and the files of every cell.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from bench_table import Cells, need, parser, tell
from nets import fit_batch_norm
from paper_nets import imagenet_resnet, thin_resnet
from papers_data import BATCH, Cifar, Draws, Images, base, loss_of, normalised, read
from pays_page import page
from pays_plans import METHODS, RIVALS, SHARE, TARGETS, Counts, Ground, Place, right, trained_key
from torch import Tensor, nn

from edgelr.graph import Graph, capture
from edgelr.pipeline.files import draft, write
from edgelr.pipeline.machine import machine_of, place_of
from edgelr.pipeline.precision import Precision
from edgelr.pipeline.prepare import counted_costs
from edgelr.pipeline.produce import run_file
from edgelr.pipeline.source import inspect
from edgelr.pipeline.training.recipes import for_cut, suited, tuned
from edgelr.quantization import observe
from edgelr.vocabulary import Choice, Format, Plan, Share

ORDER = ("learning-compression", "additive", "energy", "uniform", "shared")  # in which plans are trained
FORMATS: tuple[Format, ...] = ("tflite", "onnx")
SENSITIVITY = 16  # held-out images on which each choice alone is measured
ROUNDS, TOLERANCE = 3, 0.03  # how often a plan is made anew that is slower, by more than this, than its prices say
STEPS = 8  # the finest rank step of the targets' LiteRT kernels
FILES = ("data/cifar10_train_jpeg.npz", "data/cifar10_test_jpeg.npz", "models/vgg_cifar.py", "models/vgg16_cifar10.safetensors",
         "models/resnet_cifar.py", "models/resnet20_cifar10.safetensors")  # fmt: skip


def tensors(images: Images) -> tuple[Tensor, Tensor]:
    return normalised(torch.from_numpy(images.x)), torch.from_numpy(images.y)


@dataclass
class Bench:
    """VGG-16 with its images."""

    ground: Ground
    cifar: Cifar
    counts: Counts
    cache: Path

    def before(self, plan: Plan) -> float:
        """Accuracy of a plan's float network without training, on held-out images."""
        return right(self.ground.built(plan), *tensors(self.cifar.selection.first(self.counts.selection)))

    def trained(self, plan: Plan) -> float:
        """Accuracy of a plan's .tflite in LiteRT after one epoch of fine-tuning."""
        batches = Draws(self.cifar.train, self.counts.trained)
        source = self.ground.source
        recipe = for_cut(suited("finetune", source), self.before(plan) / self.before(Plan()))
        net = tuned(self.ground.built(plan), source, recipe, batches, 1, loss_of, lambda p: tell(f"  {p}"))
        return self.int8(net)

    def int8(self, folded: nn.Module) -> float:
        """Accuracy of a network's .tflite in LiteRT."""
        graph = capture(folded, (3, 32, 32))
        calibration = tensors(self.cifar.train.first(self.counts.calibration))[0]
        ranges = observe(graph, torch.split(calibration, BATCH))
        file = write(Precision().quantized(graph, ranges, ("tflite",)))["tflite"]
        tested = self.cifar.test.first(self.counts.tested)
        return float((run_file(file, "tflite", tested.split(), graph).argmax(1) == tested.y).mean())


def described(ground: Ground, place: Place, method: str, limit_us: float, bench: Bench | None) -> dict[str, Any] | None:
    """A method's plan within a limit, its latency that of the files as a whole. None for no plan.

    Where the whole file is slower than its layers' prices say (measured ones), the limit is lowered by as much, and the plan made anew.
    """
    asked, plan, result = limit_us, Plan(), dict[str, Any]()
    for _ in range(ROUNDS):
        found = ground.plan(method, place, asked)
        if found is None:
            return None
        plan = found
        graphs = {"dense": ground.source.graph, "plan": capture(ground.built(plan), ground.source.shape)}
        result = timed(graphs, place)
        over = 1e3 * result["tflite"]["plan"] / limit_us
        if over <= 1 + TOLERANCE:
            break
        asked /= over
    result |= {"plan": to_cell(plan), "macs": counted_costs(ground.source, plan)["macs"], "kept": ground.kept(plan)}
    return result | ({"before": bench.before(plan)} if bench else {})


def timed(graphs: dict[str, Graph], place: Place) -> dict[str, Any]:
    """The median of each graph's file in each format, side by side, and the KB of the plan's .tflite."""
    result: dict[str, Any] = {}
    for format in FORMATS:
        files = {k: draft(g, (format,), place.precision)[format] for k, g in graphs.items()}
        taken = machine_of(place_of(place.target), (format,)).together(files, format, rounds=30)
        result[format] = {k: taken.timings[k].median for k in graphs}
        result.setdefault("kb", len(files[next(reversed(files))]) / 1e3)
    return result


def planned(name: str, ground: Ground, places: dict[str, Place], cells: Cells, bench: Bench | None) -> None:
    """A cell for each target and method at half the latency."""
    for target, place in places.items():
        for method in METHODS:
            limit = SHARE * place.dense_us
            cells.cell(f"{name} {target} {method}", lambda m=method, p=place, u=limit: described(ground, p, m, u, bench))  # type: ignore[misc]


def rivals(bench: Bench, places: dict[str, Place], cells: Cells) -> None:
    """Cells of the dense networks' latencies on every target, and of VGG-16 as fast as each rival in LiteRT."""
    networks = {"VGG-16": bench.ground.source.graph}
    for depth in (20, 56):
        net = seeded(lambda d=depth: thin_resnet(d, "B"), 32)  # type: ignore[misc]
        networks[f"ResNet-{depth}"] = inspect(f"resnet{depth}", net, (3, 32, 32)).graph
    for target, place in places.items():
        cell = cells.cell(f"dense {target}", lambda p=place: timed(networks, p))  # type: ignore[misc]
        for rival in RIVALS:
            limit = 1e3 * cell["tflite"][rival]
            cells.cell(
                f"faster {target} {rival}",
                lambda p=place, u=limit: described(bench.ground, p, "learning-compression", u, bench),  # type: ignore[misc]
            )


def train_all(bench: Bench, cells: Cells) -> None:
    """Fine-tune every plan of VGG-16, each once: those against the rivals first."""
    keys = [f"faster {t} {r}" for r in RIVALS for t in TARGETS] + [f"VGG-16 {t} {m}" for m in ORDER for t in TARGETS]
    for key in keys:
        if cells.done[key] is not None:
            plan = from_cell(cells.done[key]["plan"])
            cells.cell(trained_key(cells.done[key]), lambda p=plan: bench.trained(p))  # type: ignore[misc]


def to_cell(plan: Plan) -> dict[str, list[Any]]:
    return {n: [c.scheme, c.rank, *((c.share.group, c.share.side) if c.share else ())] for n, c in plan.factorised().items()}


def from_cell(held: dict[str, list[Any]]) -> Plan:
    return Plan({n: Choice(c[0], c[1], Share(c[2], c[3]) if len(c) > 2 else None) for n, c in held.items()})


def seeded(build: Callable[[], nn.Module], side: int) -> nn.Module:
    """Random weights, with batch norm statistics that fit them: for latencies."""
    torch.manual_seed(0)
    return fit_batch_norm(build(), (torch.randn(4, 3, side, side) for _ in range(2)))


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
    bench = Bench(vgg, cifar, counts, chosen.cache)
    resnet20 = inspect("resnet20", base("resnet20", chosen.shared, chosen.cache, cifar), (3, 32, 32))
    cells.cell("dense int8", lambda: {"VGG-16": bench.int8(vgg.source.folded), "ResNet-20": bench.int8(resnet20.folded)})
    places = {t: vgg.place(t, cells) for t in TARGETS}
    rivals(bench, places, cells)
    planned("VGG-16", vgg, places, cells, bench)
    page(chosen, cells, counts)
    train_all(bench, cells)
    wide = Ground(inspect("resnet18", seeded(lambda: imagenet_resnet(18), 224), (3, 224, 224)), STEPS)
    planned("ResNet-18", wide, {t: wide.place(t, cells) for t in TARGETS}, cells, None)
    page(chosen, cells, counts)
    cells.finish()


if __name__ == "__main__":
    main()
