"""The graph of a factorised network whose weights were trained: as a plan's graph is, in the same operations under the same names."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from edgelr.factorize.recurrent import FactoredRecurrent, Product
from edgelr.graph import Graph, capture
from edgelr.graph.recurrent import trimmed
from edgelr.graph.splice import Halves, spliced
from edgelr.vocabulary import Plan


def graph_of(net: nn.Module, plan: Plan, shape: tuple[int, ...]) -> Graph:
    """The graph of a network that ``plan`` factorised, batch norm folded. ``shape`` is the input's, without batch.

    Recurrent layers are captured with their products multiplied out, and get their factors afterwards. Raises UnsupportedError.
    """
    graph = trimmed(capture(multiplied_out(net), shape))
    return spliced(graph, {name: gate for name in plan.factorised() if (gate := _gate(net, name, plan)) is not None})


def multiplied_out(net: nn.Module) -> nn.Module:
    """A copy of the network in eval mode with torch's own modules for the factorised recurrent ones; the same network where it has none."""
    if not any(isinstance(m, FactoredRecurrent) for m in net.modules()):
        return net.eval()
    made = copy.deepcopy(net).eval()
    if isinstance(made, FactoredRecurrent):
        return made.multiplied()
    whole = {m: m.multiplied() for m in made.modules() if isinstance(m, FactoredRecurrent)}
    for parent in list(made.modules()):
        for key, child in list(parent._modules.items()):
            if isinstance(child, FactoredRecurrent):
                setattr(parent, key, whole[child])
    return made


def _gate(net: nn.Module, name: str, plan: Plan) -> Halves | None:
    """The factors of a gate matrix; None for any other layer."""
    scheme = plan[name].scheme
    if scheme not in ("recurrent", "gates"):
        return None
    owner, _, matrix = name.rpartition(".")
    module = net.get_submodule(owner)
    product = getattr(module, matrix)
    assert isinstance(product, Product)
    bias: Tensor | None = getattr(module, matrix.replace("weight", "bias", 1), None)
    held = torch.zeros(len(product.left)) if bias is None else bias
    return Halves(scheme, product.right.detach(), product.left.detach(), held.detach())
