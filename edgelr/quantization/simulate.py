"""The integer run: the reference that both files are judged against."""
from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from edgelr.graph.arithmetic import dequantize, quantize
from edgelr.quantization.calibrate import Quantized


def simulate_integers(q: Quantized, x: Tensor, observe: Callable[[str, Tensor], None] | None = None) -> Tensor:
    """The output's integers (float tensor of whole numbers in [-128, 127]) for a batch of real inputs."""
    last = {value: node.name for node in q.graph.nodes for value in node.inputs}
    values = {q.graph.input: quantize(x, q.grids[q.graph.input])}
    if observe:
        observe(q.graph.input, values[q.graph.input])
    with torch.no_grad():
        for node in q.graph.nodes:
            values[node.name] = node.op.integer([values[i] for i in node.inputs], [q.grids[i] for i in node.inputs],
                                                q.grids[node.name], q.weights.get(node.name))
            if observe:
                observe(node.name, values[node.name])
            for value in set(node.inputs):
                if last[value] == node.name and value != q.graph.output:
                    del values[value]
    return values[q.graph.output]


def simulate(q: Quantized, x: Tensor) -> Tensor:
    """The output in real numbers, as both files give it."""
    return dequantize(simulate_integers(q, x), q.grids[q.graph.output])
