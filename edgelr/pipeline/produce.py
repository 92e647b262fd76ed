"""From a plan to files: rebuild the network, capture it, put it on the grid, write it, and read what was written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgelr.data import Data, Split
from edgelr.devices import open_session
from edgelr.export.account import OpAccount, OpRow, account, accounted, layout_excess, unexplained
from edgelr.export.layout import layout_of
from edgelr.export.readback import check_readback
from edgelr.export.verify import compare, gate
from edgelr.factorize import rebuild
from edgelr.graph import Graph, run
from edgelr.pipeline.candidates import Factors
from edgelr.pipeline.files import planned, write
from edgelr.pipeline.metrics import Metric, Outputs, agreement, sqnr_db
from edgelr.pipeline.precision import Precision, Ranges
from edgelr.pipeline.settings import Settings
from edgelr.pipeline.source import BATCH, Source, channels_last, first, gathered
from edgelr.quantization import Quantized, observe, simulate
from edgelr.vocabulary import Format, Plan, Score

GATE_SAMPLES = 256
GATE_SAMPLES_MIN = 32
GATE_MACS = 1e11  # the integer run takes some six times the float network's time: large networks are gated on fewer samples


@dataclass(frozen=True)
class Product:
    """A plan's network, in float and on the grid, and its files by format."""

    plan: Plan
    model: nn.Module
    graph: Graph
    ranges: Ranges
    quantized: dict[Format, Quantized]
    files: dict[Format, bytes]


@dataclass(frozen=True)
class Judged:
    """What one file gives on the held-out samples, against the source network."""

    score: Score
    agreement: float
    sqnr_db: float
    reference: str
    ops: OpAccount
    rows: tuple[OpRow, ...] = ()
    channels_last: bool | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Batches:
    """Calibration batches that can be gone through again and again; memory is one batch."""

    data: Data
    samples: int

    def __iter__(self) -> Iterator[Tensor]:
        assert self.data.calibration is not None
        return first(self.data.calibration, self.samples)


def produce(
    source: Source,
    plan: Plan,
    factors: Factors,
    calibration: Iterable[Tensor],
    settings: Settings,
    precision: Precision,
    ranges: Ranges | None = None,
) -> Product:
    """Build and write a plan's network. ``ranges`` are its values', where they are known already."""
    joint = factors.grouped.joint(plan)
    model = rebuild(source.folded, plan, factors.decompositions, joint) if plan.factorised() else source.folded
    graph = planned(source.graph, plan, factors)
    return written(plan, model, graph, source.shape, calibration, settings, precision, ranges)


def written(
    plan: Plan,
    model: nn.Module,
    graph: Graph,
    shape: tuple[int, ...],
    calibration: Iterable[Tensor],
    settings: Settings,
    precision: Precision,
    ranges: Ranges | None = None,
) -> Product:
    """A network whose modules and graph are there, on the grid and in its files. ``shape`` is the input's, without batch."""
    ranges = observe(graph, calibration, settings.calibration) if ranges is None else ranges
    quantized = precision.quantized(graph, ranges, settings.formats)
    if settings.via == "stock":
        from edgelr.export.stock import stock_onnx, stock_tflite

        batches = list(calibration)
        stock: dict[Format, bytes] = {
            f: (stock_tflite if f == "tflite" else stock_onnx)(model, batches, shape) for f in settings.formats
        }
        return Product(plan, model, graph, ranges, quantized, stock)
    return Product(plan, model, graph, ranges, quantized, write(quantized))


def gate_samples(macs: int | None) -> int:
    """How many samples a file is compared with the integer run on."""
    return max(GATE_SAMPLES_MIN, min(GATE_SAMPLES, int(GATE_MACS / max(1, macs or 1))))


def outputs_of(graph: Graph, split: Split) -> Outputs:
    """The float graph's outputs on every sample."""
    with torch.no_grad():
        return np.concatenate([run(graph, channels_last(x)).numpy() for x, _ in split.batches(BATCH)])


def judge(
    product: Product, split: Split, split_name: str, reference: Outputs, metric: Metric, settings: Settings, macs: int | None
) -> dict[Format, Judged]:
    """Read each file back and run it on every sample. Raises GateError where a file is not what was meant to be written.

    The .onnx must equal the integer run bit for bit, the .tflite must agree with it; on the first samples.
    """
    result: dict[Format, Judged] = {}
    x, _ = gathered(split, gate_samples(macs))
    own = outputs_of(product.graph, split)
    for format, data in product.files.items():
        if settings.via == "direct":
            check_readback(product.quantized[format], data, format)
        outputs = run_file(data, format, split, product.graph)
        if settings.via == "direct":
            gate_file(product.quantized[format], x, outputs[: len(x)], format)
        score = metric.score(outputs, split.y, reference, split_name)
        ops = account(data, format)
        excess = layout_excess(product.graph, data, format)
        rows = accounted(product.quantized[format], data, format) if settings.via == "direct" else ()
        strange = [(r.name, r.type) for r in unexplained(rows)] if settings.via == "direct" else ops.float_ops
        notes = [f"model.int8.{format}: {name} ({kind}) runs in float" for name, kind in strange]
        notes += [f"model.int8.{format}: {name} ({kind}) moves data and is not in the source" for name, kind in excess]
        last = product.graph.input in layout_of(product.graph).channels_last if format == "tflite" else None
        compared = told(settings, format, product.quantized[format], len(x))
        agreed, noise = agreement(outputs, None, reference), sqnr_db(own, outputs)
        result[format] = Judged(score, agreed, noise, compared, ops, rows, last, tuple(notes))
    return result


def gate_file(q: Quantized, x: Tensor, outputs: Outputs, format: Format) -> None:
    """Raises GateError where a file doesn't compute what was written. Whole int8 in an .onnx is judged bit by bit."""
    grid = q.grids.get(q.graph.output)
    expected = simulate(q, x).numpy()
    step = float(np.abs(expected).max()) / 255 if grid is None else grid.scale
    gate(compare(expected, outputs, max(step, 1e-30)), format, exact=format == "onnx" and not q.kept)


def told(settings: Settings, format: str, q: Quantized, samples: int) -> str:
    """What a file was compared with: its SQNR is against the float network it was made from, its gate the integer run."""
    gate_told = "equal bit for bit to" if format == "onnx" and not q.kept else "in agreement with"
    return "the compressed float network" + (f"; {gate_told} the integer run on {samples} samples" if settings.via == "direct" else "")


def run_file(data: bytes, format: Format, split: Split, graph: Graph) -> NDArray[np.float32]:
    """A file's outputs on every sample, in its runtime on this machine; computed as on the processors that it is for."""
    last = layout_of(graph).channels_last
    session = open_session(data, format, channels_last=graph.input in last, channels_last_output=graph.output in last, as_meant=True)
    try:
        outputs = np.concatenate([session.run(x.numpy()) for x, _ in split.batches(BATCH)])
        return outputs.reshape(len(outputs), *graph.shapes[graph.output])  # a .tflite may hold a height of 1 that torch has not
    finally:
        session.close()
