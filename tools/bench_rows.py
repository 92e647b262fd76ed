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
from bench_predicted import NUMBERS, Net, closest, graph_of, measured, nets
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


def whole_and_sum(device: Device, files: Mapping[str, bytes], format: Format, quick: bool) -> dict[str, tuple[float, float]]:
    """Microseconds of each file whole, and of its operations alone with one call."""
    whole = {name: median(closest(us)) for name, us in measured(device, files, format, quick).items()}
    blocked = own_layouts(device.describe(RUNTIMES[format]), format)
    cuts = {name: list(cut_operators(data, format, blocked=blocked)) for name, data in files.items()}
    alone = {(cut.key, cut.operation): cut for each in cuts.values() for cut in each}
    number = {key: str(i) for i, key in enumerate(alone)}
    operations = {number[key]: cut.operation for key, cut in alone.items()}
    us: dict[str, float] = {}
    calls = []
    for name, told in times_alone(device, operations, ((number[k], c.data) for k, c in alone.items()), format, 1):
        us[name] = told.us
        calls.append(told.call_us)
    return {name: (whole[name], sum(us[number[c.key, c.operation]] for c in each) + median(calls)) for name, each in cuts.items()}


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
                for numbers, (whole, total) in whole_and_sum(device, files, format, a.quick).items():
                    rows.append([name, f"{share:.0%}", numbers, runtime, f"{whole:.1f}", f"{total:.1f}", f"{total / whole - 1:+.1%}"])
                    tell(" ".join(rows[-1]))
    note = "Measured, one thread. sum: of the file's own operations, each alone in a file among others, and of one call."
    publish(a.out, "Sums of rows", time.perf_counter() - start, a.quick,
            table(["network", "weights", "numbers", "runtime", "whole, us", "sum, us", "sum against whole"], rows), note)  # fmt: skip


if __name__ == "__main__":
    main()
