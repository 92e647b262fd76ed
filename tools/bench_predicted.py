"""Predicted against measured: whole networks' latency by tables built without them, beside what they take on this machine.

    OMP_NUM_THREADS=1 python tools/bench_predicted.py --tables FOLDER --out docs/benchmarks/predicted.md

Eleven networks, dense and with about half and a quarter of their layers' parameters (ranks on the kernels' steps), in float and on
integers, in both runtimes. A runtime's table holds the general grid of operations and no network. Networks are measured while the table
is: every few minutes each file once, alone in a process of its own beside the network that tells the machine's pace, and once more what
tells what operations cost more inside of networks. Rows and networks are told at one pace, the machine's own as the first turn saw it: by
what was measured at it, where any was. All of it is left in ``--tables``; what is there already, of the same networks on this processor,
isn't measured again, but priced by this code's rules.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import torch
from attention_nets import Vit
from bench_table import Cells, need, parser, publish, table, tell
from nets import MobileNetV3Small, _module
from recurrent_nets import SequenceNet
from torch import nn
from unseen_nets import EfficientNetLite0, SqueezeNet

from edgelr.devices import Described, Device, describe_host, load_target
from edgelr.devices.attach import open_transport
from edgelr.factorize import skeleton
from edgelr.graph import Graph
from edgelr.latency.building import build
from edgelr.latency.far import Reference, far_from
from edgelr.latency.file_price import file_price
from edgelr.latency.machine import RUNTIMES
from edgelr.latency.measuring_far import References
from edgelr.latency.operation import Operation
from edgelr.latency.pace import Paced, is_calm, middle, pace_of, paced, told_pace, undisturbed, whole_us
from edgelr.latency.pricer import Pricer
from edgelr.latency.row_source import DeviceRows
from edgelr.latency.table import Table
from edgelr.latency.table_file import dumps, loads
from edgelr.latency.turns import Turns
from edgelr.latency.verifying import sure, verify
from edgelr.latency.wanted import general_operations
from edgelr.models.survey import survey
from edgelr.pipeline.building_tables import head_of
from edgelr.pipeline.files import draft
from edgelr.pipeline.precision import Form, Precision
from edgelr.pipeline.recapture import graph_of as recaptured
from edgelr.pipeline.source import inspect
from edgelr.pipeline.table_devices import own_layouts
from edgelr.vocabulary import Choice, Format, Layer, Numbers, Plan

SHARES = (1.0, 0.5, 0.25)
NUMBERS: tuple[Numbers, ...] = ("int8", "float")
FORMATS: tuple[Format, ...] = ("tflite", "onnx")
EVERY_S = 120.0  # between two turns of the networks
LEAST = 8  # turns
FEW_ROUNDS = 5  # of a process at the table's pace, for it to be told by them
FEW = 2_000  # parameters below which a layer stays dense
UNSEEN = ("SqueezeNet, 128", "EfficientNet-Lite0, 128", "GRU, 2 x 96")
MODELS = ("models/imagenet_nets.py", "models/resnet_cifar.py", "models/vgg_cifar.py")


@dataclass(frozen=True)
class Net:
    build: Callable[[], nn.Module]
    shape: tuple[int, ...]


def nets(shared: Path) -> dict[str, Net]:
    """By name; random weights, since latency doesn't depend on them."""
    imagenet, cifar, vgg = (_module(shared / m) for m in MODELS)
    return {
        "ResNet-20": Net(cifar.resnet20, (3, 32, 32)),
        "VGG-16, CIFAR": Net(vgg.vgg16, (3, 32, 32)),
        "ResNet-18, 112": Net(imagenet.resnet18, (3, 112, 112)),
        "ResNet-50, 96": Net(imagenet.resnet50, (3, 96, 96)),
        "MobileNetV2, 160": Net(imagenet.mobilenet_v2, (3, 160, 160)),
        "MobileNetV3-small, 160": Net(MobileNetV3Small, (3, 160, 160)),
        "ViT-tiny, 4 blocks, 112": Net(lambda: Vit(4, 112, 16, 192, 3, 100), (3, 112, 112)),
        "LSTM, 2 x 128": Net(lambda: SequenceNet("lstm", 6, 128, 12), (64, 6)),
        "SqueezeNet, 128": Net(SqueezeNet, (3, 128, 128)),
        "EfficientNet-Lite0, 128": Net(EfficientNetLite0, (3, 128, 128)),
        "GRU, 2 x 96": Net(lambda: SequenceNet("gru", 20, 96, 10), (40, 20)),
    }


def choice(layer: Layer, share: float, step: int) -> Choice:
    """The layer's first scheme at the rank that leaves about ``share`` of its weights, on the kernels' step as edgelr chooses ranks."""
    n, k = layer.weight_shape[0], prod(layer.weight_shape[1:])
    scheme = layer.schemes[0]
    unit = layer.weight_shape[1] * layer.weight_shape[2] + n * layer.weight_shape[3] if scheme == "spatial" else n + k
    return Choice(scheme, min(max(1, round(share * n * k / unit / step)) * step, n, k))


def graph_of(net: Net, share: float) -> Graph:
    torch.manual_seed(0)
    model = net.build().eval()
    if share < 1:
        layers, step = survey(model, torch.zeros(1, *net.shape)), max(load_target("host").rank_steps.values())
        able = [x for x in layers if x.schemes and x.params > FEW and (x.groups == 1 or x.kind == "recurrent")]
        plan = Plan({x.name: choice(x, share, step) for x in able})
        model = skeleton(model, plan).eval()
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.data = torch.randn_like(parameter) * 0.05
        if any(x.kind == "recurrent" for x in able):
            return recaptured(model, plan, net.shape)
    return inspect("network", model, net.shape).graph


@dataclass(frozen=True)
class Measured:
    """This machine's table of the general grid, of a runtime; each file in each of its processes meanwhile, and the networks that tell what
    operations cost more inside; and what that took."""

    table: Table
    rounds: Mapping[str, Sequence[Sequence[Paced]]]
    references: Mapping[Numbers, Sequence[Reference]]
    seconds: float

    def save(self, stem: Path) -> None:
        stem.parent.mkdir(parents=True, exist_ok=True)
        rounds = {key: [[(one.us, one.pace_us) for one in process] for process in each] for key, each in self.rounds.items()}
        stem.with_suffix(".tsv").write_text(dumps(self.table), encoding="utf-8")
        references = {n: [(r.whole_us, r.alone, [str(o) for o in r.operations]) for r in each] for n, each in self.references.items()}
        held = {"seconds": self.seconds, "rounds": rounds, "references": references}
        stem.with_suffix(".json").write_text(json.dumps(held), encoding="utf-8")

    @staticmethod
    def load(stem: Path) -> Measured:
        held = json.loads(stem.with_suffix(".json").read_text(encoding="utf-8"))
        rounds = {key: [[Paced(*one) for one in process] for process in each] for key, each in held["rounds"].items()}
        references = {n: [Reference(us, alone, [Operation.parse(o) for o in operations]) for us, alone, operations in held["references"][n]]
                      for n in NUMBERS}  # fmt: skip
        return Measured(loads(stem.with_suffix(".tsv").read_text(encoding="utf-8")), rounds, references, held["seconds"])

    def serves(self, told: Described, files: Iterable[str]) -> bool:
        """Whether it is of these files, in this runtime on this processor."""
        head = self.table.head
        return self.rounds.keys() == set(files) and (head.version, head.core) == (told.runtimes[head.runtime], told.core)


def measured(device: Device, told: Described, format: Format, files: Mapping[str, bytes], quick: bool) -> Measured:
    """Float and integers, each with its dynamic rows; the networks between the rows."""
    target, blocked = load_target("host"), own_layouts(told, format)
    every = [References(device, format, target.threads, n, blocked=blocked) for n in NUMBERS]
    seen: dict[str, list[tuple[Paced, ...]]] = {name: [] for name in files}
    rounds, seconds = (3, 0.0) if quick else (20, 0.5)
    start = time.perf_counter()

    def networks() -> None:
        for name, data in files.items():
            seen[name].append(paced(device, data, format, target.threads, rounds=rounds, min_seconds=seconds))
        for references in every:
            references.measure()
        tell(f"{RUNTIMES[format]}: networks measured {len(seen[name])} times, {(time.perf_counter() - start) / 60:.0f} minutes")

    networks()
    paces_us = [one.pace_us for each in seen.values() for rounds in each for one in rounds]
    pace_us = undisturbed(paces_us + [us for references in every for us in references.paces_us])
    wanted = general_operations(format, (*NUMBERS, "dynamic"), blocked=blocked)
    head = head_of(target, told, format)
    head = replace(head, conditions={**head.conditions, **told_pace(pace_us)})
    source = Turns(DeviceRows(device, format, target.threads, blocked=blocked, pace_us=pace_us), networks, EVERY_S)
    done = build(head, wanted[::40] if quick else wanted, source, tell=lambda text: tell(f"{RUNTIMES[format]}: {text}"))
    while not quick and min(map(len, seen.values())) < LEAST:
        networks()
    again = verify(done.table, source)
    visited = f"rows visited up to {done.visits} times, {done.disturbed} never at the pace"
    tell(f"{RUNTIMES[format]}: {visited}; measured again they differ by {again.off:.1%}")
    return Measured(sure(done.table, again), seen, {r.numbers: r.told(pace_us) for r in every}, time.perf_counter() - start)


def predicted(data: bytes, format: Format, pricer: Pricer) -> dict[str, Any]:
    """The price, and the share of each basis in it."""
    price = file_price(data, format, pricer)
    spent: dict[str, float] = {}
    for name, us in price.times.us.items():
        spent[price.basis.get(name, "row")] = spent.get(price.basis.get(name, "row"), 0.0) + us
    return {"us": price.times.whole_us, "basis": {b: us / max(price.times.sum_us, 1e-9) for b, us in spent.items()}}


def apart(us: list[float]) -> float:
    """The upper quartile over the lower one, less one."""
    low, _, high = quantiles(us, n=4, method="inclusive") if len(us) > 1 else (us[0],) * 3
    return high / low - 1


def summary(errors: list[float]) -> list[str]:
    """How many; median error, what four of five stay within, worst, and which way they go."""
    sizes = sorted(map(abs, errors))
    told = (median(sizes), sizes[-(-4 * len(sizes) // 5) - 1], sizes[-1])
    return [str(len(sizes)), *(f"{e:.1%}" for e in told), f"{median(errors):+.1%}"]


def page(cells: Mapping[str, Any]) -> list[str]:
    """The summary, then every file."""
    rows: list[list[str]] = []
    groups: dict[tuple[str, str, str], list[float]] = {}
    clocked: dict[str, list[float]] = {}
    for key, cell in cells.items():
        if not key.startswith("net "):
            continue
        _, net, share, numbers, format = key.split("|")
        error = cell["us"] / cell["measured"] - 1
        clocked.setdefault("others" if net in UNSEEN else "networks", []).append(cell["us"] / median(cell["clocked"]) - 1)
        runtime = {str(f): r for f, r in RUNTIMES.items()}[format]
        for group in ((runtime, numbers), ("all", "")):
            groups.setdefault(("others" if net in UNSEEN else "networks", *group), []).append(error)
        known = cell["basis"].get("row", 0.0) + cell["basis"].get("between", 0.0)
        ms = [f"{us / 1e3:.3f}" for us in (median(cell["clocked"]), cell["measured"], cell["us"])]
        calm = f"{apart(cell['calm']):.0%} of {len(cell['calm'])}" if cell["calm"] else "none"
        spread = f"{apart(cell['clocked']):.0%} of {len(cell['clocked'])}, {calm}"
        rows.append([net, f"{float(share):.0%}", numbers, runtime, *ms[:2], spread, ms[2], f"{error:+.1%}", f"{known:.0%}"])
    told = [[*group, *summary(errors)] for group, errors in sorted(groups.items(), key=lambda g: (g[0][0], g[0][1] == "all", g[0]))]
    told += [[group, "all, as clocked", "", *summary(errors)] for group, errors in sorted(clocked.items())]
    made = {RUNTIMES[f]: c for f in FORMATS if (c := cells.get(f"table {f}"))}
    sizes = [f"{runtime}: {c['rows']} rows, {c['bytes']:,} bytes, measured with the networks on {c['made']} in {c['seconds']:.0f} s"
             for runtime, c in made.items()]  # fmt: skip
    heads = [(runtime, *key.split(), us) for runtime, c in made.items() for key, us in sorted(c["head"].items()) if " " in key]
    far = [f"{runtime} {numbers} {us}" for runtime, key, numbers, us in heads if key == "far_us_per_kb"]
    inside = [f"{runtime} {numbers} {float(share):.1%}" for runtime, key, numbers, share in heads if key == "inside_share"]
    paces = [f"{runtime} {median(c['paces']):.0f} us, {apart(c['paces']):.0%} apart, told at {pace_of(c['head']):.0f}; rows measured again "
             f"differ by {float(c['head']['rows_again']):.0%}" for runtime, c in made.items()]  # fmt: skip
    return [
        table(["", "runtime", "numbers", "files", "median error", "four of five within", "worst", "bias"], told),
        f"others: {'; '.join(UNSEEN)}. Prices' rules were made looking at the errors of the networks before them. Of these, SqueezeNet's "
        "showed that channels behind a concatenation were counted wrongly.",
        "Tables: " + "; ".join(sizes) + ".",
        "Pace (of its network, beside each of the others): " + "; ".join(paces) + ".",
        "Far (us for each KB of weights in networks of 1, 4, 16 and 40 MB, of those gone through once in ones of 16 and 40 MB, and of "
        "values; measured): " + "; ".join(far) + ". Inside (what an operation costs more among others): " + "; ".join(inside) + ".",
        table(["network", "weights", "numbers", "runtime", "clocked, ms", "measured, ms", "apart", "predicted, ms", "error", "within rows"],
              rows),
        "weights: what low rank leaves of each layer. clocked: the median of its processes. measured: of the rounds at the pace that "
        "the table is told at, or of all as they would be there where none was; the error is of this. apart: the upper quartile of the "
        "processes over the lower one, as clocked and by the rounds at that pace, and how many they were. within rows: "
        "the share of the prediction that rows, or places between them, gave.",
    ]


def main() -> None:
    arguments: argparse.ArgumentParser = parser(__doc__, "predicted")
    arguments.add_argument("--tables", type=Path, required=True, help="folder where tables are left")
    a = arguments.parse_args()
    need(a.shared, *MODELS)
    torch.set_num_threads(1)
    cells = Cells(a.out, {"quick": a.quick, "cpu": describe_host()["cpu"]})
    with Device(open_transport("local")) as device:
        for format in FORMATS:
            compare(device, cells, format, dict(list(nets(a.shared).items())[: 2 if a.quick else None]), a.tables, a.quick)
    publish(a.out, "Predicted against measured", sum(cells.done[f"table {f}"]["seconds"] for f in FORMATS), a.quick, *page(cells.done))
    cells.finish()


def compare(device: Device, cells: Cells, format: Format, known: Mapping[str, Net], tables: Path, quick: bool) -> None:
    """All files of all networks in one runtime: measured between the table's rows, and priced by it."""
    keys = {f"net |{n}|{share}|{numbers}|{format}": (n, share, numbers) for n in known for share in SHARES for numbers in NUMBERS}
    if f"table {format}" in cells.done:
        return
    graphs = {(name, share): graph_of(net, share) for name, net in known.items() for share in SHARES}
    files: dict[str, bytes] = {}
    for key, (name, share, numbers) in keys.items():
        form = Precision({format: Form(numbers, "loop" if name.startswith(("LSTM", "GRU")) else "fused")})
        files[key] = draft(graphs[name, share], (format,), form)[format]
    stem, told = tables / RUNTIMES[format], device.describe(RUNTIMES[format])
    held = Measured.load(stem) if not quick and stem.with_suffix(".json").exists() else None
    if held is None or not held.serves(told, files):
        held = measured(device, told, format, files, quick)
        if not quick:
            held.save(stem)
    head, pace_us = held.table.head, pace_of(held.table.head.conditions)
    made = replace(held.table, head=replace(head, conditions={**head.conditions, **far_from(held.references).conditions()}))
    pricer = Pricer(made)
    for key, data in files.items():
        processes = held.rounds[key]
        calm = [here for rounds in processes if len(here := [one for one in rounds if is_calm(one, pace_us)]) >= FEW_ROUNDS]
        cell = {"measured": whole_us([one for rounds in processes for one in rounds], pace_us),
                "clocked": [middle(rounds).us for rounds in processes], "calm": [whole_us(here, pace_us) for here in calm]}  # fmt: skip
        cells.put(key, {**cell, **predicted(data, format, pricer)}, lambda: 0.0)
    paces = [middle(rounds).pace_us for each in held.rounds.values() for rounds in each]
    facts = {"rows": len(made.rows), "bytes": len(dumps(made)), "head": dict(made.head.conditions), "paces": paces,
             "made": made.head.made, "seconds": held.seconds}  # fmt: skip
    cells.put(f"table {format}", facts, lambda: 0.0)


if __name__ == "__main__":
    main()
