"""The chosen files run on the attached device, or on the target's core emulated: do they give there what they give here?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from edgelr.devices import Device, meant, open_session
from edgelr.devices.attach import open_transport
from edgelr.export.layout import layout_of
from edgelr.latency import RUNTIMES
from edgelr.latency.attached import Attached
from edgelr.pipeline.job import Job
from edgelr.pipeline.machine import EMULATED
from edgelr.pipeline.produce import Product
from edgelr.pipeline.source import gathered
from edgelr.vocabulary import Format

SAMPLES = 8
CLOSE = 1e-5  # of the largest output: float kernels of two processors add in another order


@dataclass(frozen=True)
class There:
    """One file's outputs on a device against this machine's: ``worst`` in steps of the output's grid, or as a share of the largest value
    where the output is float (``steps`` False)."""

    on: str
    samples: int
    equal: float
    worst: float
    steps: bool

    def __str__(self) -> str:
        if self.equal == 1.0:
            return f"on {self.on} outputs equal this machine's bit for bit ({self.samples} samples)"
        unit = "steps of the grid" if self.steps else "of the largest value"
        worst = f"{self.worst:.0f}" if self.steps else f"{self.worst:.1e}"
        return f"on {self.on} {self.equal:.2%} of outputs equal this machine's ({self.samples} samples), at most {worst} {unit} off"


def outputs_there(job: Job, product: Product) -> dict[Format, There]:
    """Each file's first held-out outputs on the device that the target names; {} where it names none, or this machine.

    Raises DeviceError where the device can't be reached, BadInputError where its runtime refuses a file.
    """
    if isinstance(job.machine, Attached):
        return _compared(job, product, job.machine.device, job.machine.on)
    if job.address.partition("?")[0] != EMULATED:
        return {}
    core = job.target.kernels or job.target.core
    with Device(open_transport(f"{job.address.replace(EMULATED, f'{EMULATED}:{core}', 1)}")) as device:
        return _compared(job, product, device, f"{core} (emulated)")


def _compared(job: Job, product: Product, device: Device, on: str) -> dict[Format, There]:
    with job.log.stage("device"):
        job.log.say(f"running {SAMPLES} samples on {on}")
        x, _ = gathered(job.held, SAMPLES)
        with Device(open_transport("local")) as here:
            return {f: _file(data, f, x, product, device, here, on) for f, data in product.files.items() if f in job.machine.runtimes}


def _file(data: bytes, format: Format, x: Tensor, product: Product, device: Device, here: Device, on: str) -> There:
    last, graph = layout_of(product.graph).channels_last, product.graph
    session = open_session(data, format, channels_last=graph.input in last, channels_last_output=graph.output in last)
    raw = session.raw(x.numpy())
    session.close()
    there = device.run(data, [raw], runtime=RUNTIMES[format])[0]
    own = here.run(meant(data) if format == "onnx" else data, [raw], runtime=RUNTIMES[format])[0]
    grid = product.quantized[format].grids.get(product.quantized[format].graph.output)
    return compared(own, there, on, len(x), grid.scale if grid and own.dtype.kind == "f" else None)


def compared(own: NDArray[np.generic], there: NDArray[np.generic], on: str, samples: int, scale: float | None) -> There:
    """``scale``: the step of a grid that float outputs lie on."""
    off = np.abs(own.astype(np.float64) - there.astype(np.float64))
    integer = own.dtype.kind in "iu"
    unit = 1.0 if integer else scale or max(float(np.abs(own.astype(np.float64)).max()), 1e-30)
    return There(on, samples, float(np.mean(own == there)), float(off.max(initial=0.0)) / unit, integer or scale is not None)


def strange(found: Mapping[Format, There]) -> list[str]:
    """What a user must know: outputs that differ by more than rounding."""
    return [f"model.int8.{f}: {t}" for f, t in found.items() if t.worst > (1.5 if t.steps else CLOSE)]
