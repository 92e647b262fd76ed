"""From a plan to files: rebuild the network, capture it, put it on the grid, write it, and read what was written."""
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgelr.data import Split
from edgelr.devices import open_session
from edgelr.export.account import OpAccount, account
from edgelr.export.readback import check_readback
from edgelr.export.verify import compare, gate
from edgelr.factorize import rebuild
from edgelr.graph import Graph, capture, run
from edgelr.pipeline.candidates import Factors
from edgelr.pipeline.files import write
from edgelr.pipeline.metrics import Metric, Outputs, agreement, sqnr_db
from edgelr.pipeline.settings import Settings
from edgelr.pipeline.source import BATCH, Source, gathered
from edgelr.quantization import Quantized, calibrate, simulate
from edgelr.vocabulary import Plan, Score

GATE_SAMPLES = 256


@dataclass(frozen=True)
class Product:
    """A plan's network, in float and on the grid, and its files by format."""

    plan: Plan
    model: nn.Module
    graph: Graph
    quantized: Quantized
    files: dict[str, bytes]


@dataclass(frozen=True)
class Judged:
    """What one file gives on the held-out samples, against the source network."""

    score: Score
    agreement: float
    sqnr_db: float
    reference: str
    ops: OpAccount


def produce(source: Source, plan: Plan, factors: Factors, calibration: Iterable[Tensor], settings: Settings) -> Product:
    """Build and write a plan's network."""
    model = rebuild(source.folded, plan, factors.decompositions) if plan.factorised() else source.folded
    graph = capture(model, source.shape) if plan.factorised() else source.graph
    quantized = calibrate(graph, calibration, settings.calibration)
    if settings.via == "stock":
        from edgelr.export.stock import stock_onnx, stock_tflite

        batches, writers = list(calibration), {"tflite": stock_tflite, "onnx": stock_onnx}
        return Product(plan, model, graph, quantized, {f: writers[f](model, batches, source.shape) for f in settings.formats})
    return Product(plan, model, graph, quantized, write(quantized, settings.formats))


def outputs_of(graph: Graph, split: Split) -> Outputs:
    """The float graph's outputs on every sample."""
    with torch.no_grad():
        return np.concatenate([run(graph, x).numpy() for x, _ in split.batches(BATCH)])


def judge(product: Product, split: Split, split_name: str, reference: Outputs, metric: Metric, settings: Settings) -> dict[str, Judged]:
    """Read each file back and run it on every sample. Raises GateError where a file is not what was meant to be written.

    The .onnx must equal the integer run bit for bit, the .tflite must agree with it; on the first samples.
    """
    result = {}
    x, _ = gathered(split, GATE_SAMPLES)
    expected = simulate(product.quantized, x).numpy()
    for format, data in product.files.items():
        if settings.via == "direct":
            check_readback(product.quantized, data, format)
        outputs = run_file(data, format, split)
        if settings.via == "direct":
            scale = product.quantized.grids[product.graph.output].scale
            gate(compare(expected, outputs[: len(x)], scale), format)
        score = metric.score(outputs, split.y, reference, split_name)
        told = "the integer run of the graph" if settings.via == "direct" else "none: written by the stock converter"
        result[format] = Judged(score, agreement(outputs, None, reference), sqnr_db(reference, outputs), told, account(data, format))
    return result


def run_file(data: bytes, format: Any, split: Split) -> NDArray[np.float32]:
    """A file's outputs on every sample, in its runtime on this machine."""
    session = open_session(data, format)
    try:
        return np.concatenate([session.run(x.numpy()) for x, _ in split.batches(BATCH)])
    finally:
        session.close()
