"""Moments of what gate matrices read: no module can be watched for the inner layers of an nn.LSTM, but the graph has their values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from edgelr.factorize import Gates, Moments, feed
from edgelr.graph import Graph, run
from edgelr.graph.ops.recurrent import Recurrent
from edgelr.graph.splice import Place, place_of


def collect_gate_moments(
    graph: Graph, matrices: Mapping[str, Gates], batches: Iterable[Tensor], max_rows_per_batch: int
) -> dict[str, Moments]:
    """Run ``batches`` through the graph and return the moments of each named matrix's inputs: the steps of its layer's input for ih, the
    hidden states before each step (zeros before the first) for hh. A matrix that the graph doesn't have is left out.

    Raises BadInputError, naming the matrix, where its inputs are NaN or infinite.
    """
    moments = {name: Moments(matrix, max_rows_per_batch) for name, matrix in matrices.items()}
    places = {name: place for name in matrices if (place := place_of(graph, name)) is not None}
    read = {v for p in places.values() for v in (p.node, graph.node(p.node).inputs[0])}
    values: dict[str, Tensor] = {}

    def keep(name: str, value: Tensor) -> None:
        if name in read:
            values[name] = value

    with torch.no_grad():
        for batch in batches if places else ():
            run(graph, batch, keep)
            for name, place in places.items():
                feed(name, moments[name], _inputs(graph, place, values))
    return {name: m for name, m in moments.items() if m.count}


def _inputs(graph: Graph, place: Place, values: Mapping[str, Tensor]) -> Tensor:
    node = graph.node(place.node)
    op, x = node.op, values[node.inputs[0]]
    assert isinstance(op, Recurrent)
    if place.part == "ih":
        return x
    y = replace(op, last=False).run(x) if op.last else values[place.node]
    first = torch.zeros_like(y[:, :1])
    return torch.cat([y[:, 1:], first] if op.reverse else [first, y[:, :-1]], 1)
