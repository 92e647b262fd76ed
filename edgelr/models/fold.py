"""Batch norm folded into the layer before it: in eval mode it is a scale and a shift of each channel."""
from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import torch
from torch import Tensor, fx, nn

from edgelr.errors import UnsupportedError
from edgelr.factorize import last_layers, scale_outputs
from edgelr.graph.capture import export
from edgelr.models.depth import deep_enough

FOLDABLE = (nn.Conv1d, nn.Conv2d, nn.Linear)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
SOURCES = ("aten.conv1d", "aten.conv2d", "aten.convolution", "aten.linear")


def fold_batch_norm(model: nn.Module, example: Tensor) -> nn.Module:
    """The network of ``folding``."""
    return folding(model, example)[0]


def folding(model: nn.Module, example: Tensor) -> tuple[nn.Module, dict[str, str]]:
    """A copy of ``model``, in eval mode, whose batch norms are folded into the Conv1d, Conv2d or Linear before them; and which batch norm
    went into which layer: the norm's name by the layer's.

    A batch norm is folded where it is the only reader of that layer's output, and the weights of both are read once in a forward
    pass; it becomes nn.Identity, and the layer gets a bias. All others stay: batch norm before a convolution, after an addition, with
    statistics of the batch, on shared or computed weights. W' = W g, b' = (b - mean) g + beta with g = gamma / sqrt(var + eps)
    (Jacob et al. 2018, section 3.2), computed in float64. ``example`` is an input, batch first; ``model`` is left as it was.

    Raises UnsupportedError where the network can't be copied or captured by torch.export.
    """
    with deep_enough(model):
        try:
            folded = copy.deepcopy(model).eval()
        except Exception as error:
            raise UnsupportedError("the network can't be copied", f"{type(error).__name__}: {_first_line(error)}",
                                   "remove weight norm (torch.nn.utils.remove_weight_norm) and tensors kept from a forward pass") from error
        norms = dict(_pairs(folded, export(folded, tuple(example.shape[1:]))))
        for layer, norm in norms.items():
            fold_into(folded.get_submodule(layer), folded.get_submodule(norm))
            parent, _, child = norm.rpartition(".")
            setattr(folded.get_submodule(parent), child, nn.Identity())
        return folded, norms


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:300]


def _pairs(model: nn.Module, program: torch.export.ExportedProgram) -> list[tuple[str, str]]:
    """(layer, batch norm) by qualified name, in execution order."""
    names = {**program.graph_signature.inputs_to_parameters, **program.graph_signature.inputs_to_buffers}
    tensors = {**dict(model.named_parameters(remove_duplicate=False)), **dict(model.named_buffers(remove_duplicate=False))}
    nodes = [n for n in program.graph.nodes if n.op == "call_function"]
    runs = Counter(id(t) for n in nodes for a in n.args[1:4] if (t := _held(a, names, tensors)) is not None)
    pairs = []
    for node in nodes:
        source = node.args[0] if node.args else None
        if "batch_norm" not in str(node.target) or not isinstance(source, fx.Node) or not str(source.target).startswith(SOURCES):
            continue
        layer, norm = _module(model, source), _module(model, node)
        if layer is None or norm is None or len(source.users) != 1 or type(norm[1]) not in NORMS or not isinstance(layer[1], FOLDABLE):
            continue
        weight, mean = _held(source.args[1], names, tensors), _held(node.args[3], names, tensors)
        own = weight is not None and weight is layer[1].weight and mean is not None and mean is norm[1].running_mean
        if own and id(weight) in runs and runs[id(weight)] == 1 == runs[id(mean)] and _by_channel(source):
            pairs.append((layer[0], norm[0]))
    return pairs


def _held(arg: Any, names: dict[str, str], tensors: dict[str, Tensor]) -> Tensor | None:
    """The parameter or buffer that a node's argument is."""
    return tensors.get(names.get(arg.name, "")) if isinstance(arg, fx.Node) else None


def _module(model: nn.Module, node: fx.Node) -> tuple[str, nn.Module] | None:
    """The innermost module that a node was recorded in."""
    stack = list(node.meta.get("nn_module_stack", {}).values())
    path = str(stack[-1][0]).removeprefix("L['self'].") if stack else ""
    try:
        return (path, model.get_submodule(path)) if path else None
    except AttributeError:
        return None


def _by_channel(source: fx.Node) -> bool:
    """Whether the axis that batch norm takes (the second) is the layer's output axis: for linear, in two-dimensional outputs only."""
    return not str(source.target).startswith("aten.linear") or source.meta["val"].dim() == 2


@torch.no_grad()
def fold_into(layer: Any, norm: Any) -> None:
    """Scale and shift ``layer`` (or the stand-in of a factorised one) as batch norm ``norm`` does in eval mode; it gets a bias where it has
    none."""
    gain = 1 / torch.sqrt(norm.running_var.double() + norm.eps)
    if norm.weight is not None:
        gain = gain * norm.weight.double()
    last = last_layers(layer)
    bias = (0 if last[0].bias is None else last[0].bias.double()) - norm.running_mean.double()
    shift = bias * gain + (0 if norm.bias is None else norm.bias.double())
    scale_outputs(last, gain)
    last[0].bias = nn.Parameter(shift.to(last[0].weight.dtype), requires_grad=last[0].weight.requires_grad)
