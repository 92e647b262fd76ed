"""Sums of rows: what a network takes whole, beside its own operations timed alone one by one, on this machine.

    OMP_NUM_THREADS=1 python tools/bench_rows.py --out docs/benchmarks/rows.md

No table is in it: what is left between both is what operations cost each other inside a network, and what timing them alone gets wrong.
Of networks with many small operations, of loops, and of chains of float operations between convolutions.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from statistics import median

import torch
from bench_predicted import NUMBERS, Net, graph_of, nets
from bench_table import parser, publish, table, tell
from torch import Tensor, nn

from edgelr.devices import Device
from edgelr.devices.attach import open_transport
from edgelr.latency.alone import times_alone
from edgelr.latency.cut import cut_operators
from edgelr.latency.machine import RUNTIMES
from edgelr.pipeline.files import draft
from edgelr.pipeline.precision import Form, Precision
from edgelr.pipeline.table_devices import own_layouts
from edgelr.vocabulary import Format

NAMES = ("ResNet-20", "MobileNetV3-small, 160", "ViT-tiny, 4 blocks, 112", "LSTM, 2 x 128")
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


def whole_and_sum(device: Device, files: Mapping[str, bytes], format: Format, quick: bool) -> dict[str, list[tuple[float, float]]]:
    """Microseconds of each file whole, and of its operations alone with one call; in each of ``ROUNDS``, one behind the other."""
    blocked = own_layouts(device.describe(RUNTIMES[format]), format)
    cuts = {name: list(cut_operators(data, format, blocked=blocked)) for name, data in files.items()}
    alone = {(cut.key, cut.operation): cut for each in cuts.values() for cut in each}
    number = {key: str(i) for i, key in enumerate(alone)}
    operations = {number[key]: cut.operation for key, cut in alone.items()}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in files}
    for _ in range(1 if quick else ROUNDS):
        singles = ((number[key], cut.data) for key, cut in alone.items())
        told = dict(times_alone(device, operations, singles, format, 1))
        call_us = median(each.call_us for each in told.values())
        for name, each in cuts.items():
            m = device.measure({name: files[name]}, runtime=RUNTIMES[format], threads=1, rounds=3 if quick else 30, min_seconds=0.5)
            total = sum(told[number[c.key, c.operation]].us for c in each) + call_us
            found[name].append((m[name].median * 1e3, total))
    return found


def main() -> None:
    a = parser(__doc__, "rows").parse_args()
    torch.set_num_threads(1)
    start = time.perf_counter()
    known = nets(a.shared)
    chains = {f"{kind}, {CHANNELS} x {SIDE} x {SIDE}": Net(lambda kind=kind: Chain(kind), (CHANNELS, SIDE, SIDE))  # type: ignore[misc]
              for kind in ("nothing", "hard-swish", "y * max(y, -3)")}  # fmt: skip
    wanted = {(name, share): known[name] for name in NAMES for share in SHARES} | {(name, 1.0): net for name, net in chains.items()}
    graphs = {key: graph_of(net, key[1]) for key, net in (list(wanted.items())[:1] if a.quick else wanted.items())}
    rows = []
    with Device(open_transport("local")) as device:
        for format, runtime in RUNTIMES.items():
            for (name, share), graph in graphs.items():
                forms = {n: Precision({format: Form(n, "loop" if name.startswith("LSTM") else "fused")}) for n in NUMBERS}
                files = {str(n): draft(graph, (format,), p)[format] for n, p in forms.items()}
                for numbers, rounds in whole_and_sum(device, files, format, a.quick).items():
                    whole, total = (median(us) for us in zip(*rounds, strict=True))
                    off = sorted(s / w - 1 for w, s in rounds)
                    told = f"{median(off):+.1%} [{off[0]:+.1%}, {off[-1]:+.1%}]"
                    rows.append([name, f"{share:.0%}", numbers, runtime, f"{whole:.1f}", f"{total:.1f}", told])
                    tell(" ".join(rows[-1]))
    note = (f"Measured, one thread, {ROUNDS} rounds: sums and wholes in turns, medians, and the least and the most of the rounds' errors. "
            "sum: of the file's own operations, each alone in a file among others of its size, and of one call.")  # fmt: skip
    publish(a.out, "Sums of rows", time.perf_counter() - start, a.quick,
            table(["network", "weights", "numbers", "runtime", "whole, us", "sum, us", "sum against whole"], rows), note)  # fmt: skip


if __name__ == "__main__":
    main()
