"""The step of a runtime's kernels in output channels, counted: within a step, channels cost the same."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from operations import counted
from rates import Rates

from edgelr.latency.grid_weighted import convolution
from edgelr.latency.operation import Operation
from edgelr.vocabulary import Format, Numbers

SIDE, CHANNELS, COUNTED = 14, 64, range(17, 49)  # three multiples of the largest step
STEPS = (16, 8, 4, 2)
ALIKE = 0.04  # by how much fewer channels may be cheaper without being another step


def pointwise(format: Format, numbers: Numbers, channels: int) -> Operation:
    return convolution(format, numbers, (1, 1), (1, 1), SIDE, CHANNELS, channels)


def step_of(
    format: Format, numbers: Numbers, core: str, rates: Rates, environments: Path, kept: Path, tell: Callable[[str], None]
) -> tuple[int, dict[int, float]]:
    """The largest step to which channels can be rounded up for nothing, 1 if there is none; and a 1x1 convolution's cycles by channels."""
    wanted = {pointwise(format, numbers, n): n for n in COUNTED}
    found = counted(tuple(wanted), format, core, environments, kept, tell)
    cycles = {wanted[o]: float(events @ rates.vector) for o, events in found.items()}
    return next((s for s in STEPS if _flat(cycles, s)), 1), cycles


def _flat(cycles: Mapping[int, float], step: int) -> bool:
    """Whether no number of channels is cheaper than the next multiple of ``step``."""
    pairs = [(n, -(-n // step) * step) for n in cycles]
    return all(cycles[n] >= (1 - ALIKE) * cycles[top] for n, top in pairs if top in cycles)
