"""Peak memory of calibration at 100 and at 10,000 samples: it must not grow with their number.

    OMP_NUM_THREADS=1 python tools/bench_memory.py --out docs/benchmarks/memory.md

Each measurement is a fresh process, which reads CIFAR-10's JPEGs batch by batch; peak resident memory while calibrating as Linux counts it.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from bench_data import cifar10
from bench_table import Cells, need, parser, publish, table
from nets import resnet20
from torch import nn

from edgelr.graph import Graph, capture
from edgelr.pipeline.source import first, inspect
from edgelr.quantization import calibrate

SHAPE, BATCH = (3, 32, 32), 64
METHODS = ("minmax", "percentile", "mse")
FILES = ("data/cifar10_train_jpeg.npz", "data/cifar10_test_jpeg.npz", "models/resnet_cifar.py", "models/resnet20_cifar10.safetensors")


def chain() -> Graph:
    """49 convolutions in a row, random weights: with the input 50 tensors, each with a range of its own."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for i in range(49):
        layers += [nn.Conv2d(3 if i == 0 else 8, 8, 3, padding=1), nn.ReLU()]
    return capture(nn.Sequential(*layers).eval(), SHAPE)


def reset_peak() -> None:
    """Forget the peak so far, which imports and the capture made (proc(5), clear_refs)."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def resident_mb(line: str) -> float:
    """A line of /proc/self/status in MB: VmRSS now, VmHWM at most since the last reset."""
    status = dict(row.split(":", 1) for row in Path("/proc/self/status").read_text(encoding="ascii").splitlines())
    return int(status[line].split()[0]) * 1024 / 1e6


def one(shared: Path, net: str, method: Any, samples: int) -> dict[str, float]:
    """What this process holds before calibrating and at most while it does, in MB, and how long that takes."""
    torch.set_num_threads(1)
    graph = chain() if net == "chain" else inspect("resnet20", resnet20(shared).model, SHAPE).graph
    calibration = cifar10(shared, samples, 1, 1).calibration
    assert calibration and len(calibration) == samples
    reset_peak()
    before, start = resident_mb("VmRSS"), time.perf_counter()
    calibrate(graph, first(calibration, samples), method)
    return {"before": before, "peak": resident_mb("VmHWM"), "tensors": len(graph.shapes), "seconds": time.perf_counter() - start}


def main() -> None:
    options = parser(__doc__, "memory")
    options.add_argument("--one", nargs=3, metavar=("NET", "METHOD", "SAMPLES"), help="measure in this process and print JSON")
    chosen = options.parse_args()
    if chosen.one:
        print(json.dumps(one(chosen.shared, chosen.one[0], chosen.one[1], int(chosen.one[2]))))
        return
    need(chosen.shared, *FILES)
    counts = (65, 200) if chosen.quick else (100, 10_000)
    cells = Cells(chosen.out, {"counts": counts})

    def fresh(net: str, method: str, samples: int) -> Any:
        command = [sys.executable, __file__, "--shared", str(chosen.shared), "--one", net, method, str(samples)]
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])

    rows, growths = [], []
    for net, name in (("resnet20", "ResNet-20"), ("chain", "49 convolutions")):
        for method in METHODS if not chosen.quick else METHODS[1:2]:
            few, many = (cells.cell(f"{net} {method} {n}", lambda n=n, net=net, method=method: fresh(net, method, n)) for n in counts)
            growths.append(many["peak"] - few["peak"])
            rows.append(
                (
                    name,
                    few["tensors"],
                    method,
                    f"{few['before']:.0f}",
                    f"{few['peak']:.0f}",
                    f"{many['peak']:.0f}",
                    f"{growths[-1]:+.1f} ({growths[-1] / few['peak']:+.1%})",
                    f"{few['seconds']:.1f}",
                    f"{many['seconds']:.1f}",
                )
            )
    publish(
        chosen.out,
        "Peak memory of calibration",
        sum(cells.seconds.values()),
        chosen.quick,
        f"Peak resident memory while calibrating, in MB, and wall seconds, measured, each in a fresh process; "
        f"batches of {BATCH} images of CIFAR-10 (JPEG copy); the "
        "number of tensors is counted. Before: what torch, the network and the compressed JPEGs take.",
        table(
            (
                "network",
                "tensors",
                "ranges",
                "before",
                f"{counts[0]:,} samples",
                f"{counts[1]:,} samples",
                "growth",
                f"{counts[0]:,}: s",
                f"{counts[1]:,}: s",
            ),
            rows,
        ),
        f"Largest growth: {max(growths):+.1f} MB.",
    )
    cells.finish()


if __name__ == "__main__":
    main()
