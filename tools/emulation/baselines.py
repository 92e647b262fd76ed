"""What a predictor without kernels says: multiply-adds alone, and a roofline of multiply-adds and bytes, operation by operation."""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import prod
from statistics import median

from fitting import fitted
from published import Published, speedup
from reference_files import file_of

from edgelr.latency.cut import cut_operators
from edgelr.latency.families import work_of
from edgelr.latency.operation import Operation

MULTIPLIES = ("conv", "depthwise", "linear", "matmul", "conv_transpose")
# Multiply-adds a cycle at best in float and int8, and bytes a cycle between memory and one core: hiroog/vfpbench logs; STREAM on Raspberry
# Pi 4 (5.5 GB/s at 1.5 GHz, sci-pi.org.uk), tinymembench on A76 boards (11 GB/s read and written at 2.4 GHz, sbc-reviews); A53: half of A72
PEAKS: Mapping[str, tuple[float, float, float]] = {
    "a53": (4, 8, 1.8), "a72": (4, 8, 3.7), "a73": (4, 8, 3.7), "kryo": (4, 8, 3.7), "a75": (4, 16, 3.7), "a76": (8, 32, 4.6),
}  # fmt: skip


@dataclass(frozen=True)
class Work:
    """Of one network: multiply-adds and bytes moved (inputs, outputs, weights), by operation."""

    macs: tuple[int, ...]
    moved: tuple[int, ...]


@cache
def work(network: str, numbers: str) -> Work:
    found = [c.operation for c in cut_operators(file_of(network, "float" if numbers == "float" else "int8"), "tflite")]
    size = 1 if numbers == "int8" else 4
    macs = tuple(work_of(o) if o.op in MULTIPLIES else 0 for o in found)
    return Work(macs, tuple(size * (sum(map(prod, o.inputs)) + prod(o.output) + _weights(o)) for o in found))


def _weights(o: Operation) -> int:
    if o.op not in MULTIPLIES or o.op == "matmul":
        return 0
    return o.inputs[0][-1] // o.groups * prod(o.kernel) * o.output[-1]


def macs_ms(row: Published) -> float:
    """At the core's peak."""
    return sum(work(row.network, row.numbers).macs) / PEAKS[row.core][row.numbers == "int8"] / row.ghz / 1e6


def roofline_ms(row: Published) -> float:
    """Each operation by its multiply-adds or its bytes, whichever takes longer (Williams et al. 2009)."""
    w, (real, integer, bandwidth) = work(row.network, row.numbers), PEAKS[row.core]
    peak = integer if row.numbers == "int8" else real
    return sum(max(m / peak, b / bandwidth) for m, b in zip(w.macs, w.moved, strict=True)) / row.ghz / 1e6


def calibrated(model: Callable[[Published], float], row: Published, among: Sequence[Published]) -> float:
    """``model`` times the median factor of the rows that the simulated rates may see too: of the core and numbers, else of the numbers."""
    seen = [r for r in among if fitted(r) and r.origin != row.origin and r.numbers == row.numbers]
    near = [r for r in seen if r.core == row.core] or seen
    factor = median(r.ms / model(r) for r in near) if near else 1.0
    return factor * model(row) / speedup(row, row.origin)
