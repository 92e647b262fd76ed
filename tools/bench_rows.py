"""Sums of rows: what a network takes whole, beside its own operations timed alone one by one, on this machine.

    OMP_NUM_THREADS=1 python tools/bench_rows.py --out docs/benchmarks/rows.md

No table is in it: what is left between both is what operations cost each other inside a network, and what timing them alone gets wrong.
Of networks with many small operations, of loops, of chains of float operations between convolutions; and of networks larger than the
caches. What operations cost more inside is told by other networks (``edgelr/latency/far.py``), measured in the same rounds.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import torch
from bench_predicted import NUMBERS, Net, graph_of, nets
from bench_table import parser, publish, table, tell
from torch import Tensor, nn

from edgelr.devices import Device, RowTimes
from edgelr.devices.attach import open_transport
from edgelr.latency.alone import alone_at, times_alone
from edgelr.latency.cut import cut_operators
from edgelr.latency.far import far_from, network_bytes
from edgelr.latency.machine import RUNTIMES
from edgelr.latency.measuring_far import MOST, References, pace_seen
from edgelr.latency.operation_bytes import held_bytes
from edgelr.latency.pace import Paced, at_pace, paced, whole_us
from edgelr.pipeline.files import draft
from edgelr.pipeline.precision import Form, Precision
from edgelr.pipeline.table_devices import own_layouts
from edgelr.vocabulary import Format, Numbers

NAMES = (
    "ResNet-20", "MobileNetV3-small, 160", "ViT-tiny, 4 blocks, 112", "LSTM, 2 x 128",
    "EfficientNet-Lite0, 128", "VGG-16, CIFAR", "ResNet-18, 112", "ResNet-50, 96",
)  # fmt: skip
SHARES = (1.0, 0.25)
ROUNDS = 3
CHANNELS, SIDE = 96, 28


class Chain(nn.Module):
    """Operations without weights between two convolutions; none: the convolutions alone."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.a, self.b = kind, nn.Conv2d(CHANNELS, CHANNELS, 1), nn.Conv2d(CHANNELS, CHANNELS, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        if self.kind == "hard-swish":
            y = nn.functional.hardswish(y)
        elif self.kind != "nothing":
            y = y * y.clamp(min=-3.0)
        result: Tensor = self.b(y)
        return result


@dataclass(frozen=True)
class Sums:
    """Microseconds of a network whole and of its operations alone with one call, in each round; ``more_us`` for what
    they cost more inside a network. All at one pace."""

    whole_us: Sequence[float]
    sum_us: Sequence[float]
    size_bytes: int
    more_us: float


def measured(device: Device, files: Mapping[str, bytes], format: Format, numbers: Numbers, quick: bool) -> dict[str, Sums]:
    """Every file of one number format, in rounds: all operations alone, then each file and the references of far weights."""
    blocked = own_layouts(device.describe(RUNTIMES[format]), format)
    cuts = {name: list(cut_operators(data, format, blocked=blocked)) for name, data in files.items()}
    ordered = sorted((cut for each in cuts.values() for cut in each), key=lambda cut: held_bytes(cut.operation))  # as a table's rows are
    alone = {(cut.key, cut.operation): cut for cut in ordered}
    number = {key: str(i) for i, key in enumerate(alone)}
    operations = {number[key]: cut.operation for key, cut in alone.items()}
    references = References(device, format, 1, numbers, blocked=blocked)
    wholes: dict[str, list[tuple[Paced, ...]]] = {name: [] for name in files}
    rows: dict[str, list[RowTimes]] = {key: [] for key in operations}
    for _ in range(1 if quick else ROUNDS):
        singles = ((number[key], cut.data) for key, cut in alone.items())
        for key, times in times_alone(device, operations, singles, format, 1):
            rows[key].append(times)
        for name, data in files.items():
            wholes[name].append(paced(device, data, format, 1, rounds=3 if quick else 30, min_seconds=0.5))
        references.measure()
    for _ in range(0 if quick else MOST - ROUNDS):
        references.measure(pace_seen([references]))
    pace_us = pace_seen([references])
    far, found = far_from({numbers: references.told(pace_us)}), {}
    single = {key: [alone_at(times, pace_us) for times in each] for key, each in rows.items()}
    us = {key: [at_pace(one.row(operations[key]), pace_us).us for one in each] for key, each in single.items()}
    call_us = whole_us([Paced(one.call_us, one.pace_us) for each in single.values() for one in each], pace_us)
    for name, cut in cuts.items():
        size = network_bytes(c.operation for c in cut)
        here = [(c.operation, us[number[c.key, c.operation]]) for c in cut]
        more = sum(far.us(operation, median(each), size) for operation, each in here)
        sums = [call_us + sum(each[i] for _, each in here) for i in range(len(wholes[name]))]
        found[name] = Sums([whole_us(rounds, pace_us) for rounds in wholes[name]], sums, size, more)
    return found


def told(errors: Sequence[float]) -> str:
    return f"{median(errors):+.1%} [{min(errors):+.1%}, {max(errors):+.1%}]"


def main() -> None:
    a = parser(__doc__, "rows").parse_args()
    torch.set_num_threads(1)
    start = time.perf_counter()
    known = nets(a.shared)
    chains = {f"{kind}, {CHANNELS} x {SIDE} x {SIDE}": Net(lambda kind=kind: Chain(kind), (CHANNELS, SIDE, SIDE))  # type: ignore[misc]
              for kind in ("nothing", "hard-swish", "y * max(y, -3)")}  # fmt: skip
    wanted = {(name, share): known[name] for name in NAMES for share in SHARES} | {(name, 1.0): net for name, net in chains.items()}
    graphs = {key: graph_of(net, key[1]) for key, net in (list(wanted.items())[:1] if a.quick else wanted.items())}
    rows: list[list[str]] = []
    summed: list[tuple[str, str, float, float]] = []
    with Device(open_transport("local")) as device:
        for format, runtime in RUNTIMES.items():
            for numbers in NUMBERS:
                files: dict[str, bytes] = {}
                for (name, share), graph in graphs.items():
                    form = Precision({format: Form(numbers, "loop" if name.startswith("LSTM") else "fused")})
                    files[f"{name}|{share:.0%}"] = draft(graph, (format,), form)[format]
                found = measured(device, files, format, numbers, a.quick)
                for key, sums in found.items():
                    pairs = list(zip(sums.whole_us, sums.sum_us, strict=True))
                    bare, far = [s / w - 1 for w, s in pairs], [(s + sums.more_us) / w - 1 for w, s in pairs]
                    us = (f"{median(sums.whole_us):.1f}", f"{median(sums.sum_us):.1f}")
                    rows.append([*key.split("|"), numbers, runtime, f"{sums.size_bytes / 1e6:.1f}", *us, told(bare), told(far)])
                    summed.append((runtime, numbers, abs(median(bare)), abs(median(far))))
                    tell(" ".join(rows[-1]))
    groups = list(dict.fromkeys(s[:2] for s in summed))
    errors = {g: list(zip(*(s[2:] for s in summed if s[:2] == g), strict=True)) for g in groups}
    short = [[*g, *(f"{f(each):.1%}" for each in errors[g] for f in (median, max))] for g in groups]
    note = (
        f"Measured, one thread, {1 if a.quick else ROUNDS} rounds: sums and wholes in turns, medians, and the least and the most of the "
        "rounds' errors. MB: weights and the largest values. sum: of the file's own operations, each alone in a file among others of its "
        "size, and of one call. with far: what other networks of that size cost more than their operations is added, as a share of "
        "each, and by KB and by how much larger the network is than the operation."
    )
    publish(
        a.out, "Sums of rows", time.perf_counter() - start, a.quick,
        table(["runtime", "numbers", "median error of sums", "worst", "median with far", "worst"], short),
        table(["network", "weights", "numbers", "runtime", "MB", "whole, us", "sum, us", "sum against whole", "with far"], rows), note,
    )  # fmt: skip


if __name__ == "__main__":
    main()
