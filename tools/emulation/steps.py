"""The step of a runtime's kernels in output channels, counted: within a step, channels cost the same."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from operations import counted
from rates import Rates

from edgelr.latency.grid import convolution
from edgelr.latency.operation import Operation
from edgelr.vocabulary import Format, Numbers

SIDE, CHANNELS, COUNTED = 14, 64, range(17, 49)
STEPS = (32, 16, 8, 4, 2)
ALIKE = 0.04  # by how much a cost inside a step may fall short of the step's


def pointwise(format: Format, numbers: Numbers, channels: int) -> Operation:
    return convolution(format, numbers, (1, 1), (1, 1), SIDE, CHANNELS, channels)


def step_of(
    format: Format, numbers: Numbers, core: str, rates: Rates, environments: Path, kept: Path, tell: Callable[[str], None]
) -> tuple[int, dict[int, float]]:
    """The largest step inside which cost is flat, 1 if there is none; and cycles by output channels of a 1x1 convolution."""
    wanted = {pointwise(format, numbers, n): n for n in COUNTED}
    found = counted(tuple(wanted), format, core, environments, kept, tell)
    cycles = {wanted[o]: float(events @ rates.vector) for o, events in found.items()}
    return next((s for s in STEPS if _flat(cycles, s)), 1), cycles


def _flat(cycles: Mapping[int, float], step: int) -> bool:
    """Whether one channel more than a multiple costs what the next multiple costs."""
    pairs = [(n, -(-n // step) * step) for n in cycles if n % step == 1]
    return bool(pairs) and all(top in cycles and cycles[n] >= (1 - ALIKE * step / 4) * cycles[top] for n, top in pairs)
