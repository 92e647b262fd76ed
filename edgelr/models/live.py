"""A network to train: its batch norms alive again, its factorised layers still factorised; and back."""
from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from edgelr.factorize import last_layers, scale_outputs
from edgelr.models.fold import fold_into

SMALLEST_GAIN = 1e-6  # of the largest of a layer: a channel that batch norm shut stays shut


def live(folded: nn.Module, norms: Mapping[str, nn.Module]) -> nn.Module:
    """A deep copy of a network with batch norm folded in which each of ``norms`` is back behind its layer, computing the same in eval mode.

    ``norms`` by the layer's name: the batch norm that was folded into it, with its statistics. The layer may have become a pair since.
    Its weight is divided by the norm's gain, its bias becomes the norm's. A weight in common with other layers stays: each layer's own gain
    is divided.
    """
    made = copy.deepcopy(folded)
    for name, norm in norms.items():
        own = copy.deepcopy(norm)
        revive(made.get_submodule(name), own)
        _put(made, name, nn.Sequential(made.get_submodule(name), own))
    return made


def settled(net: nn.Module, norms: Mapping[str, nn.Module]) -> nn.Module:
    """The inverse of ``live``, after training: a deep copy in eval mode, each batch norm folded into its layer."""
    made = copy.deepcopy(net).eval()
    for name in norms:
        pair: Any = made.get_submodule(name)
        fold_into(pair[0], pair[1])
        _keep_signs(pair[0])
        _put(made, name, pair[0])
    return made


@torch.no_grad()
def revive(layer: Any, norm: Any) -> None:
    """Take ``norm``'s gain out of the layer that it was folded into, and the layer's bias into ``norm``'s mean.

    ``norm`` keeps its own bias: in training that is the mean of what comes out, whatever the layer's bias was, and factors that are
    aware of their inputs have one that keeps this mean. ``layer`` may be what stands in for a factorised one.
    """
    last = last_layers(layer)
    gain = 1 / torch.sqrt(norm.running_var.double() + norm.eps)
    if norm.weight is not None:
        gain = gain * norm.weight.double()
    safe = torch.where(gain.abs() > SMALLEST_GAIN * gain.abs().max(), gain, 0.0)
    inverse = torch.where(safe == 0, 0.0, 1 / torch.where(safe == 0, 1.0, safe))
    scale_outputs(last, inverse)
    bias: Tensor = last[0].bias.double()
    own = torch.zeros_like(bias) if norm.bias is None else norm.bias.double()
    norm.running_mean.copy_(torch.where(safe == 0, norm.running_mean.double(), (own - bias) * inverse))
    norm.bias = nn.Parameter((bias + norm.running_mean.double() * gain).to(last[0].weight.dtype))
    if norm.weight is None:
        norm.weight = nn.Parameter(torch.ones_like(norm.running_var))
    norm.affine = True
    last[0].bias = None


@torch.no_grad()
def _keep_signs(layer: Any) -> None:
    """A channel of a common weight whose gain training turned round is shut: integers stored once have one sign in every layer."""
    for last in last_layers(layer):
        if hasattr(last, "gain"):
            last.gain.clamp_(min=SMALLEST_GAIN * float(last.gain.abs().max()))


def _put(net: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(net.get_submodule(parent), child, module)
