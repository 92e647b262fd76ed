"""The integer run: the reference that both files are judged against. What is kept in float runs in float here too."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from edgelr.graph.arithmetic import dequantize, quantize
from edgelr.graph.ir import Node
from edgelr.graph.ops import Op, Weighted
from edgelr.quantization.calibrate import Quantized


def simulate_integers(q: Quantized, x: Tensor, observe: Callable[[str, Tensor], None] | None = None) -> Tensor:
    """The output for a batch of real inputs: integers (a float tensor of whole numbers in [-128, 127]), or real where it has no grid."""
    last = {value: node.name for node in q.graph.nodes for value in node.inputs}
    values = {q.graph.input: quantize(x, q.grids[q.graph.input]) if q.graph.input in q.grids else x}
    if observe:
        observe(q.graph.input, values[q.graph.input])
    with torch.no_grad():
        for node in q.graph.nodes:
            values[node.name] = step(q, node, [values[i] for i in node.inputs])
            if observe:
                observe(node.name, values[node.name])
            for value in set(node.inputs):
                if last[value] == node.name and value != q.graph.output:
                    del values[value]
    return values[q.graph.output]


def step(q: Quantized, node: Node, inputs: list[Tensor]) -> Tensor:
    """One node's result, from integers or real numbers as its inputs are."""
    out, grids = q.grids.get(node.name), [q.grids.get(i) for i in node.inputs]
    on_grid = [g for g in grids if g is not None]
    if node.name in q.kept:
        return _stored(q, node).run(*inputs)
    if out is None:
        return dequantize(inputs[0], on_grid[0])
    if len(on_grid) < len(grids):
        return quantize(inputs[0], out)
    return node.op.integer(inputs, on_grid, out, q.weights.get(node.name))


def _stored(q: Quantized, node: Node) -> Op:
    """An operation in float as the file has it: the integer weights of a dynamic one in real numbers."""
    if q.numbers(node.name) != "dynamic":
        return node.op
    if isinstance(node.op, Weighted):
        w = q.weights[node.name]
        return replace(node.op, weight=w.weight.float() * w.scale.view(-1, *(1,) * (w.weight.dim() - 1)))  # type: ignore[type-var]
    return node.op.stored_dynamic() or node.op


def simulate(q: Quantized, x: Tensor) -> Tensor:
    """The output in real numbers, as both files give it."""
    result = simulate_integers(q, x)
    return dequantize(result, q.grids[q.graph.output]) if q.graph.output in q.grids else result
