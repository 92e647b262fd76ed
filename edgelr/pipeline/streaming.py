"""--streaming: a recurrent network also as one step of itself, its states in and out, for samples that come one by one."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch

from edgelr.devices.steps import run_steps
from edgelr.errors import GateError
from edgelr.export.account import account
from edgelr.export.verify import LITERT_SQNR_DB
from edgelr.graph import run
from edgelr.graph.step import step_network
from edgelr.pipeline.files import write
from edgelr.pipeline.job import Job
from edgelr.pipeline.metrics import sqnr_db
from edgelr.pipeline.precision import Form, Precision
from edgelr.pipeline.produce import Product
from edgelr.pipeline.source import gathered
from edgelr.report import Artifact, Latency, Ops
from edgelr.vocabulary import Format

SAMPLES = 16


@dataclass(frozen=True)
class Step:
    """The step network's files, and their rows in the report."""

    files: dict[Format, bytes]
    rows: tuple[Artifact, ...]


def step_files(job: Job, product: Product) -> Step | None:
    """Write and judge the step network, where it is asked for: its states carried over whole sequences must give what the network gives.

    Raises UnsupportedError where the network can't be cut into steps, GateError where a file disagrees.
    """
    settings, machine = job.settings, job.machine
    if not settings.streaming:
        return None
    graph = step_network(product.graph)
    form = Form("float" if job.dynamic_refused or settings.numbers == "float" else "dynamic")
    precision = Precision(dict.fromkeys(settings.formats, form), weight_max=job.target.weight_max)
    files = write(precision.quantized(graph, dict.fromkeys(graph.shapes, (0.0, 0.0)), settings.formats))
    x, _ = gathered(job.held, SAMPLES)
    with torch.no_grad():
        whole = run(product.graph, x).numpy()
    rows = []
    for format, data in files.items():
        got = run_steps(data, format, x.numpy().astype(np.float32))
        exactness = sqnr_db(whole, got.reshape(whole.shape))
        if exactness < LITERT_SQNR_DB:
            raise GateError(
                f"the step network's .{format} disagrees with the whole network",
                f"{exactness:.1f} dB over {x.shape[1]} steps of {len(x)} samples",
                "report it with the network",
            )
        ops = account(data, format)
        latency: tuple[Latency, ...] = ()
        if format in machine.runtimes:
            timings = machine.together({"step": data}, format, seed=settings.seed)
            latency = (Latency.of(timings["step"]),)
        reference = f"the whole network, states carried over {x.shape[1]} steps of {len(x)} samples; latency is one step's"
        rows.append(
            Artifact(
                f"model.step.int8.{format}",
                format,
                len(data),
                hashlib.sha256(data).hexdigest(),
                Ops(ops.int8, ops.float, ops.other, ops.dynamic),
                ops.layout_ops,
                sqnr_db=exactness,
                reference=reference,
                latency=latency,
            )
        )
    return Step(files, tuple(rows))
