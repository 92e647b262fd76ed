"""Low rank and quantisation together: accuracy by bytes and by milliseconds, float files and int8 files, as cut and after fine-tuning.

    OMP_NUM_THREADS=1 python tools/bench_frontier.py --cache FOLDER --out docs/benchmarks/frontier.md

ResNet-20 and VGG-16 on CIFAR-10 (JPEG copy), an LSTM on HAPT. Plans are the additive optimum at shares of the dense network's parameters
("50%KB") and of its latency in LiteRT here ("70%ms"), chosen on held-out training samples; accuracy is that of the .onnx in its runtime on
test samples. FOLDER holds decoded images, trained networks and every file. What is finished is kept: the same command goes on. The plots
are written beside the page.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from bench_table import Cells, need, parser, publish, table, tell
from frontier_nets import NETS, Net, Ready

from edgelr.devices import describe_host, measure, open_session
from edgelr.graph import Graph
from edgelr.graph.recurrent import layers
from edgelr.pipeline.files import write
from edgelr.pipeline.machine import place_of
from edgelr.pipeline.precision import Form, Policy, Precision, Spelling
from edgelr.pipeline.produce import run_file
from edgelr.quantization import observe
from edgelr.report.plots import Chart, Line, Mark, standalone
from edgelr.vocabulary import Format, Plan

FILES = ("data/cifar10_train_jpeg.npz", "data/cifar10_test_jpeg.npz", "data/hapt_windows.npz", "models/resnet_cifar.py",
         "models/resnet20_cifar10.safetensors", "models/vgg_cifar.py", "models/vgg16_cifar10.safetensors")  # fmt: skip
FORMATS: tuple[Format, ...] = ("tflite", "onnx")
NUMBERS: tuple[Policy, ...] = ("float", "int8")
RUNTIME = {"tflite": "LiteRT", "onnx": "ONNX Runtime"}
Cell = Mapping[str, Any]


def worked(ready: Ready, folder: Path, name: str, plan: Plan) -> dict[str, Any]:
    """One plan: what it costs, its files in the folder, and their accuracy, as cut and fine-tuned."""
    cell: dict[str, Any] = {"plan": name, "params": ready.params(plan), "macs": ready.macs(plan), "layers": len(plan.factorised())}
    test = ready.data.test
    assert test is not None
    for trained, graph in ready.graphs(plan):
        begun = time.perf_counter()
        way = "tuned" if trained else "cut"
        files = dict(_files(ready, graph))
        for (numbers, spelling, format), data in files.items():
            (folder / f"{name}.{way}.{numbers}.{spelling}.{format}").write_bytes(data)
        right = {}
        for numbers in NUMBERS:
            spelling = next(s for n, s, _ in files if n == numbers)
            outputs = run_file(files[numbers, spelling, "onnx"], "onnx", test, graph)
            right[numbers] = float((outputs.argmax(1) == test.y).mean())
        size: dict[str, int] = {}
        for (numbers, _, format), data in files.items():
            size[f"{numbers} {format}"] = min(len(data), size.get(f"{numbers} {format}", len(data)))
        cell[way] = {"accuracy": right, "bytes": size, "seconds": time.perf_counter() - begun}
        tell(f"  {name} {way}: {right}")
    return cell


def _files(ready: Ready, graph: Graph) -> Iterator[tuple[tuple[str, Spelling, Format], bytes]]:
    """The network in float and int8; recurrent layers, which no runtime computes on integers, in every spelling with int8 weights."""
    low_rank = any(op.ih.right is not None or op.hh.right is not None for op in layers(graph).values())
    spellings: tuple[Spelling, ...] = ("loop", "linear", "fused") if low_rank else ("fused", "loop") if layers(graph) else ("fused",)
    ranges = observe(graph, ready.calibration)
    for numbers in NUMBERS:
        for spelling in spellings:
            precision = Precision({f: Form(numbers, spelling) for f in FORMATS}, weight_max=place_of("host").target.weight_max)
            for format, data in write(precision.quantized(graph, ranges, FORMATS)).items():
                yield (numbers, spelling, format), data


def timed(folder: Path, shape: Sequence[int], quick: bool) -> dict[str, Any]:
    """Every file's median ms, and its ratio to the dense int8 file, measured side by side; the fastest spelling of each."""
    found: dict[str, Any] = {}
    for format in FORMATS:
        # A file's time does not depend on its weights: those as cut stand for the fine-tuned ones.
        paths = sorted(folder.glob(f"*.cut.*.{format}"))
        last = len(shape) == 3 and format == "tflite"
        sessions = {p.name: open_session(p.read_bytes(), format, channels_last=last) for p in paths}
        taken = measure(sessions, on=str(describe_host()["cpu"]), rounds=5 if quick else 30, min_seconds=0.1 if quick else 2.0)
        dense = min((n for n in taken if n.startswith("dense.cut.int8.")), key=lambda n: taken[n].median)
        for name, timing in taken.items():
            plan, _, numbers, _, _ = name.split(".")
            key = f"{plan} {numbers} {format}"
            if key not in found or timing.median < found[key][0]:
                found[key] = [timing.median, taken.ratio(name, dense).median]
        for session in sessions.values():
            session.close()
    return found


def network(net: Net, given: Any, cells: Cells) -> list[Cell]:
    """All plans of a network, dense first, each with its times."""
    folder = given.cache / "frontier" / net.name
    if f"{net.name} times" not in cells.done:
        ready = Ready.of(net, given.shared, given.cache)
        folder.mkdir(parents=True, exist_ok=True)
        cells.cell(f"{net.name} dense", lambda: worked(ready, folder, "dense", Plan()))
        if f"{net.name} plans" not in cells.done:
            for name, plan in ready.plans():
                cells.cell(f"{net.name} {name}", partial(worked, ready, folder, name, plan))
            cells.put(f"{net.name} plans", True, lambda: 0.0)
        cells.cell(f"{net.name} times", lambda: timed(folder, ready.source.shape, given.quick))
    times = cells.done[f"{net.name} times"]
    return [{**c, "times": times} for k, c in cells.done.items() if k.startswith(f"{net.name} ") and isinstance(c, dict) and "plan" in c]


def chart(net: Net, plans: Sequence[Cell], unit: Literal["bytes", "ms"], format: Format) -> str:
    """Four lines: float and int8, as cut and fine-tuned. Each joins the plans that no other one beats in both."""
    lines = []
    for numbers in NUMBERS:
        for way in ("cut", "tuned"):
            own = [c for c in plans if way in c or c["plan"] == "dense"]
            points = [(_x(c, numbers, unit, format), c.get(way, c["cut"])["accuracy"][numbers], c["plan"]) for c in own]
            marks = []
            for x, y, name in sorted(points):
                beaten = any(a <= x and b >= y and (a, b) != (x, y) for a, b, _ in points)
                told = f"{name}, {numbers}, {'fine-tuned' if way == 'tuned' else 'as cut'}: {y:.2%}, {x:,.4g} {unit}"
                label = "" if beaten or numbers == "float" or way == "cut" else name
                marks.append(Mark(x, y, label, told, apart=beaten))
            kind: Literal["before", "after"] = "before" if numbers == "float" else "after"
            lines.append(Line(f"{numbers}, {'fine-tuned' if way == 'tuned' else 'as cut'}", kind, tuple(marks), way == "cut"))
    x_name = f"bytes of the .{format}, counted" if unit == "bytes" else f"ms in {RUNTIME[format]}, one thread, measured"
    said = f"Test accuracy against {x_name}; lines join the plans that no other beats"
    return standalone(Chart(net.title, said, x_name, "test accuracy", unit, tuple(lines)))


def _x(c: Cell, numbers: str, unit: str, format: Format) -> float:
    if unit == "bytes":
        return float(c["cut"]["bytes"][f"{numbers} {format}"])
    return float(c["times"][f"{c['plan']} {numbers} {format}"][0])


def section(net: Net, plans: Sequence[Cell], out: Path | None) -> list[str]:
    """The plots, written beside the page, and the table."""
    parts = [f"## {net.title}"]
    pictures = []
    for unit, format in itertools.product(("bytes", "ms"), FORMATS):
        name = f"frontier-{net.name}-{unit}-{format}.svg"
        if out:
            (out.parent / name).write_text(chart(net, plans, unit, format), encoding="utf-8")  # type: ignore[arg-type]
        pictures.append(f"![{net.title}: accuracy by {unit}, .{format}]({name})")
    rows = []
    for c in plans:
        for way in ("cut", "tuned"):
            if way in c:
                rows.append(_row(c, way, plans[0]))
    head = ("plan", "trained", "parameters", "MMACs", "KB .tflite: float, int8", "KB .onnx: float, int8", "test %: float, int8",
            *(f"ms {RUNTIME[f]}: float, int8 (of dense int8)" for f in FORMATS))  # fmt: skip
    return [*parts, " ".join(pictures), table(head, rows)]


def _row(c: Cell, way: str, dense: Cell) -> tuple[object, ...]:
    size, right = c[way]["bytes"], c[way]["accuracy"]
    kb = (", ".join(f"{size[f'{n} {f}'] / 1e3:.1f}" for n in NUMBERS) for f in FORMATS)
    ms = (", ".join(f"{t[0]:.3f} ({t[1]:.0%})" for n in NUMBERS if (t := c["times"][f"{c['plan']} {n} {f}"])) for f in FORMATS)
    told = {"cut": "no", "tuned": "yes"}[way]
    return (c["plan"], told, f"{c['params'] / dense['params']:.1%}", f"{c['macs'] / 1e6:.2f}", *kb,
            ", ".join(f"{100 * right[n]:.2f}" for n in NUMBERS), *ms)  # fmt: skip


def main() -> None:
    arguments = parser(__doc__, "frontier")
    arguments.add_argument("--cache", type=Path, required=True, help="folder outside the checkout for images, networks and files")
    arguments.add_argument("--nets", default=",".join(NETS))
    arguments.add_argument("--more", type=int, default=1, help="so many times the epochs and the test samples: for a quiet machine")
    given = arguments.parse_args()
    need(given.shared, *FILES)
    torch.set_num_threads(1)
    nets = [replace(NETS[n], epochs=given.more * NETS[n].epochs, tested=given.more * NETS[n].tested) for n in given.nets.split(",")]
    if given.quick:
        nets = [replace(n, size=n.size[-1:], latency=n.latency[:1], images=256, epochs=1, tested=128) for n in nets]
    cells = Cells(given.out, {"quick": given.quick, "more": given.more, "nets": {n.name: n.told for n in NETS.values()}})
    parts = [part for net in nets for part in section(net, network(net, given, cells), given.out)]
    effort = "; ".join(f"{n.title}: epochs {n.epochs}, {n.images:,} samples each, tested on {n.tested:,}" for n in nets)
    publish(
        given.out, "Low rank and quantisation together", sum(cells.seconds.values()), given.quick,
        "Plans: the additive optimum at a share of the dense network's parameters (KB) or of its latency in LiteRT on this machine (ms), "
        "factors aware of calibration inputs, chosen on held-out training samples; test accuracy of the .onnx in its runtime. Fine-tuning "
        f"is the same for every plan, one seed: {effort}; labels and the dense network as teacher. The dense network is not trained on. "
        "Bytes: counted. Milliseconds: measured, one thread, all files of a network side by side; a recurrent network's are those of its "
        "fastest spelling, its bytes those of its smallest. A recurrent layer's int8 file has int8 weights and computes in float.",
        *parts,
    )  # fmt: skip


if __name__ == "__main__":
    main()
