"""Multiply-accumulates by closed form.

What counts: one multiply with its add. A convolution counts its whole kernel at every output, also where it reads padding; biases,
activations and pooling count nothing. Batch norm counts one a value (its statistics are fixed, so it is a scale and a shift);
layer, group and instance norm two a value (one for the variance, one for scale and shift); PReLU one; an embedding is a look-up: 0.
"""
from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from torch import nn

Shape = tuple[int, ...]


def _conv(module: Any, inputs: Shape, outputs: Shape) -> int:
    return prod(outputs) * int(module.in_channels // module.groups) * int(prod(module.kernel_size))


def _transposed(module: Any, inputs: Shape, outputs: Shape) -> int:
    return prod(inputs) * int(module.out_channels // module.groups) * int(prod(module.kernel_size))


def _linear(module: Any, inputs: Shape, outputs: Shape) -> int:
    return prod(outputs) * int(module.in_features)


def _values(times: int) -> Callable[[Any, Shape, Shape], int]:
    return lambda module, inputs, outputs: times * prod(outputs)


FORMULAS: dict[type[nn.Module], Callable[[Any, Shape, Shape], int]] = {
    nn.Conv1d: _conv, nn.Conv2d: _conv, nn.Conv3d: _conv,
    nn.ConvTranspose1d: _transposed, nn.ConvTranspose2d: _transposed, nn.ConvTranspose3d: _transposed,
    nn.Linear: _linear,
    nn.BatchNorm1d: _values(1), nn.BatchNorm2d: _values(1), nn.BatchNorm3d: _values(1), nn.PReLU: _values(1),
    nn.LayerNorm: _values(2), nn.GroupNorm: _values(2),
    nn.InstanceNorm1d: _values(2), nn.InstanceNorm2d: _values(2), nn.InstanceNorm3d: _values(2),
    nn.Embedding: _values(0),
}
KINDS = {nn.Conv1d: "conv1d", nn.Conv2d: "conv2d", nn.Linear: "linear", nn.BatchNorm1d: "batchnorm", nn.BatchNorm2d: "batchnorm",
         nn.BatchNorm3d: "batchnorm"}


def known_class(module: nn.Module) -> type[nn.Module] | None:
    """The torch class whose forward ``module`` runs; None for any other. A subclass with a forward of its own is not known."""
    for base in type(module).__mro__:
        if base in FORMULAS:
            same = all(getattr(type(module), name, None) is getattr(base, name, None) for name in ("forward", "_conv_forward"))
            return base if same else None
    return None


def macs_of(module: nn.Module, inputs: Shape, outputs: Shape, batch: int) -> int | None:
    """MACs of one call for one sample; None where no closed form is known. ``inputs`` and ``outputs`` are whole shapes, batch too.

    The batch may be folded into other axes (attention windows), so the work of all samples is divided by ``batch``.
    """
    known = known_class(module)
    return None if known is None else FORMULAS[known](module, inputs, outputs) // batch


def kind_of(module: nn.Module) -> str:
    """The vocabulary's kind: ours for the layers that we know by name, else the class name."""
    known = known_class(module)
    if known in KINDS:
        return KINDS[known]
    # Parametrising a module gives it a made-up class of its own.
    return (type(module).__mro__[1] if hasattr(module, "parametrizations") else type(module)).__name__
