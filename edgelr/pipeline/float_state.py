"""What training on the grid learnt, back in the float network: first in its graph, then in its modules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor, nn

from edgelr.factorize.recurrent import FactoredRecurrent, Product
from edgelr.graph import Graph, Op
from edgelr.graph.ops import Linear, Weighted
from edgelr.graph.ops.recurrent import GateMatrix, Lstm, Recurrent

SMALLEST = 1e-30


def with_weights(graph: Graph, trained: Graph) -> Graph:
    """``graph`` with the weights of the operations that ``trained`` (the same on the grid, as it was spelled) has under the same names."""
    ops = {n.name: n.op for n in trained.nodes}
    ops |= {n.name.removesuffix("/unbounded"): replace(n.op, clamp=graph.node(n.name.removesuffix("/unbounded")).op.clamp)  # type: ignore[type-var]
            for n in trained.nodes if n.name.endswith("/unbounded")}  # fmt: skip
    changed: dict[str, Op] = {}
    for node in graph.nodes:
        op = ops.get(node.name)
        if isinstance(op, Weighted):
            changed[node.name] = op
        elif isinstance(op, Recurrent) and isinstance(node.op, Recurrent):
            changed[node.name] = _recurrent(node.op, op, ops.get(f"{node.name}/features"))
    return graph.with_ops(changed)


def _recurrent(own: Recurrent, trained: Recurrent, features: Op | None) -> Recurrent:
    """The layer with the trained one's weights, in its own form. ``features`` is the right factor where it was spelled as a layer."""
    ih = trained.ih
    if isinstance(features, Linear) and own.ih.right is not None:
        assert not bool(features.bias.any())  # it has none, and training keeps it so
        ih = GateMatrix(ih.left, features.weight)
    made = replace(own, ih=ih, hh=trained.hh, bias_ih=trained.bias_ih, bias_hh=trained.bias_hh)
    return replace(made, hr=trained.hr) if isinstance(made, Lstm) and isinstance(trained, Lstm) else made


def with_state(model: nn.Module, before: Graph, after: Graph) -> nn.Module:
    """A copy of the float network with the trained weights. A weight that the graph holds multiplied by a number is divided by it.

    Of a module that the network runs in several places, the weights are those of the place that bears its name.
    """
    copy = deepcopy(model)
    modules: Mapping[str, nn.Module] = dict(copy.named_modules())
    old = {n.name: n.op for n in before.nodes}
    for node in after.nodes:
        module, was = modules.get(node.name), old[node.name]
        attention = modules.get(node.name.removesuffix(".in_proj"))
        if isinstance(attention, nn.MultiheadAttention) and attention.in_proj_weight is not None and isinstance(node.op, Weighted):
            with torch.no_grad():
                attention.in_proj_weight.copy_(node.op.weight)
                if attention.in_proj_bias is not None:
                    attention.in_proj_bias.copy_(node.op.bias)
            continue
        if module is None or not isinstance(node.op, Weighted) or not isinstance(was, Weighted) or not hasattr(module, "weight"):
            continue
        weight, bias = module.weight, getattr(module, "bias", None)
        assert isinstance(weight, Tensor)
        with torch.no_grad():
            if was.weight.shape != weight.shape:
                continue
            gain = getattr(module, "gain", None)
            if isinstance(gain, Tensor):  # of a weight in common with other layers, whose trained values are the same but for their gains
                own = gain.view(-1, *(1,) * (weight.dim() - 1))
                weight.copy_(torch.where(own > 0, node.op.weight / own.clamp(min=SMALLEST), weight))
                if isinstance(bias, Tensor):
                    bias.copy_(node.op.bias)
                continue
            at = int(weight.abs().argmax())
            factor = float(was.weight.flatten()[at] / weight.flatten()[at]) if float(weight.abs().max()) else 1.0
            weight.copy_(node.op.weight / factor)
            if isinstance(bias, Tensor):
                bias.copy_(node.op.bias)
    new = {n.name: n.op for n in after.nodes}
    for name, module in modules.items():
        if isinstance(module, nn.LSTM | nn.GRU | FactoredRecurrent):
            for node_name, ending in _layers(name, module):
                op = new.get(node_name)
                if isinstance(op, Recurrent):
                    _store(module, ending, op)
    return copy


def unplaced(model: nn.Module, before: Graph, after: Graph) -> tuple[str, ...]:
    """Operations whose trained weights no module of the float network holds: an average pooling written as a convolution, say."""
    modules = dict(model.named_modules())
    old = {n.name: n.op for n in before.nodes}

    def placed(name: str, op: Weighted) -> bool:
        weight = getattr(modules.get(name), "weight", None)
        attention = name.endswith(".in_proj") and isinstance(modules.get(name.removesuffix(".in_proj")), nn.MultiheadAttention)
        return attention or (isinstance(weight, Tensor) and weight.shape == op.weight.shape)

    changed = ((n.name, n.op, old[n.name]) for n in after.nodes)
    return tuple(name for name, op, was in changed if isinstance(op, Weighted) and isinstance(was, Weighted)
                 and not torch.equal(op.weight, was.weight) and not placed(name, op))


def _layers(name: str, module: nn.LSTM | nn.GRU | FactoredRecurrent) -> Iterator[tuple[str, str]]:
    """The graph's name of each layer and direction of a recurrent module, and how the names of its parameters end."""
    ways = ("", "_reverse") if module.bidirectional else ("",)
    for layer in range(module.num_layers):
        for way in ways:
            yield (name if module.num_layers == len(ways) == 1 else f"{name}.l{layer}{way}"), f"l{layer}{way}"


def _store(module: nn.Module, ending: str, op: Recurrent) -> None:
    values: dict[str, Tensor | GateMatrix | None] = {"weight_ih": op.ih, "weight_hh": op.hh, "weight_hr": op.projection}
    values |= {"bias_ih": op.bias_ih, "bias_hh": op.bias_hh}
    with torch.no_grad():
        for name, value in values.items():
            into = getattr(module, f"{name}_{ending}", None)
            if isinstance(into, Product) and isinstance(value, GateMatrix) and value.right is not None:
                into.left.copy_(torch.cat(value.left))
                into.right.copy_(value.right)
            elif isinstance(into, Tensor) and value is not None:
                into.copy_(value.dense() if isinstance(value, GateMatrix) else value)
