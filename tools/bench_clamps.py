"""What bounds on a float convolution's output cost in either runtime, on this machine: none, ReLU and ReLU6 beside each other.

    OMP_NUM_THREADS=1 python tools/bench_clamps.py --out docs/benchmarks/clamps.md
"""

from __future__ import annotations

import time
from dataclasses import replace
from math import prod
from statistics import median

from bench_table import parser, publish, table, tell

from edgelr.devices import Device
from edgelr.devices.attach import open_transport
from edgelr.latency.alone import alone_at, times_alone
from edgelr.latency.grid_weighted import convolution
from edgelr.latency.machine import RUNTIMES
from edgelr.latency.operation import Operation
from edgelr.latency.samples import sample
from edgelr.pipeline.table_devices import own_layouts
from edgelr.vocabulary import Format

ACTIVATIONS = ("none", "relu", "relu6")
ROUNDS = 3


def operations(format: Format) -> list[Operation]:
    """Layers of MobileNets, and some with much to multiply for each number that they write."""
    sizes = [(3, 40, 144, 144, 144), (3, 20, 192, 192, 192), (3, 80, 32, 32, 32), (1, 40, 16, 144, 1), (1, 80, 16, 96, 1),
             (1, 14, 128, 128, 1), (1, 4, 512, 1280, 1), (3, 14, 64, 64, 1)]  # fmt: skip
    stem = convolution(format, "float", (3, 3), (2, 2), 80, 3, 32)
    return [stem, *(convolution(format, "float", (k, k), (1, 1), side, c_in, c_out, groups) for k, side, c_in, c_out, groups in sizes)]


def main() -> None:
    a = parser(__doc__, "clamps").parse_args()
    start, rows = time.perf_counter(), []
    with Device(open_transport("local")) as device:
        for format, runtime in RUNTIMES.items():
            blocked = own_layouts(device.describe(runtime), format)
            plain = operations(format)[: 1 if a.quick else None]
            every = {f"{i} {kind}": replace(o, activation=kind) for i, o in enumerate(plain) for kind in ACTIVATIONS}
            us: dict[str, list[float]] = {name: [] for name in every}
            for _ in range(1 if a.quick else ROUNDS):
                files = ((name, sample(o, format, blocked=blocked)) for name, o in every.items())
                for name, times in times_alone(device, every, files, format, 1):
                    us[name].append(alone_at(times).us)
            for i, operation in enumerate(plain):
                none, relu, relu6 = (median(us[f"{i} {kind}"]) for kind in ACTIVATIONS)
                each = f"{(relu6 - none) / prod(operation.output) * 1e3:+.3f}"
                kernel, into, out = ("x".join(map(str, sizes)) for sizes in (operation.kernel, operation.inputs[0], operation.output))
                rows.append([runtime, f"{operation.op} {kernel}, {into} to {out}", *(f"{t:.1f}" for t in (none, relu, relu6)), each])
                tell(" ".join(rows[-1]))
    publish(a.out, "Bounds on a convolution's output", time.perf_counter() - start, a.quick,
            table(["runtime", "float layer", "none, us", "ReLU, us", "ReLU6, us", "ReLU6 less none, ns for each output"], rows),
            f"Measured, one thread, medians of {ROUNDS} rounds; each layer alone in a file among the others.")  # fmt: skip


if __name__ == "__main__":
    main()
