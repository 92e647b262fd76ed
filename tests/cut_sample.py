"""Networks written for tests of the operations in files, and the operations of a file."""
from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from edgelr.export import onnx_bytes, tflite_bytes
from edgelr.graph import Graph, capture
from edgelr.graph.ops.recurrent import Recurrent
from edgelr.graph.recurrent import trimmed
from edgelr.latency.cut import Cut, cut_operators
from edgelr.latency.operation import Operation
from edgelr.quantization import quantize
from edgelr.vocabulary import Format, Kept


def cuts(data: bytes, format: Format) -> list[Cut]:
    found = list(cut_operators(data, format))
    assert [Operation.parse(str(c.operation)) for c in found] == [c.operation for c in found]
    return found


def written(
    net: nn.Module, shape: tuple[int, ...], format: Format, numbers: str = "int8", form: str = "fused", reverse: bool = False
) -> bytes:
    torch.manual_seed(0)
    graph = trimmed(capture(net.eval(), shape))
    recurrent = {n.name: n.op for n in graph.nodes if isinstance(n.op, Recurrent)}
    return of_graph(graph.with_ops({name: replace(op, form=form, reverse=reverse) for name, op in recurrent.items()}), format, numbers)  # type: ignore[arg-type]


def of_graph(graph: Graph, format: Format, numbers: str = "int8") -> bytes:
    kept = None if numbers == "int8" else {n.name: Kept(numbers, "choice", "") for n in graph.nodes}  # type: ignore[arg-type]
    q = quantize(graph, dict.fromkeys(graph.shapes, (-4.0, 4.0)), kept)
    return tflite_bytes(q) if format == "tflite" else onnx_bytes(q)
