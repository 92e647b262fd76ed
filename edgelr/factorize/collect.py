"""Moments of many layers in one pass over the calibration data."""
from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from edgelr.errors import BadInputError, UsageError
from edgelr.factorize.moments import Moments


def collect_moments(
    model: nn.Module, names: Iterable[str], batches: Iterable[Tensor], max_rows_per_batch: int = 4096
) -> dict[str, Moments]:
    """Run ``batches`` through ``model`` and return the moments of each named layer's inputs.

    For layers that are modules: what a gate matrix reads, the module that holds it doesn't tell. Runs in eval mode without gradients; each
    module's own mode is restored. A layer that no batch reaches is left out. Memory is that of the moments (``moments_size_bytes``),
    however many batches pass. Raises UsageError for a name the network doesn't have, and BadInputError, naming the layer, where its
    inputs are NaN or infinite.
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    names = list(names)
    unknown = [name for name in names if name not in modules]
    if unknown:
        raise UsageError(f"the network has no layer {unknown[0]!r}", "", "name layers as named_modules() does")
    moments = {name: Moments(modules[name], max_rows_per_batch) for name in names}
    modes = [(module, module.training) for module in model.modules()]
    hooks = [modules[name].register_forward_pre_hook(_Feeding(name, moments[name]), with_kwargs=True) for name in names]
    try:
        model.eval()
        with torch.no_grad():
            for batch in batches:
                model(batch)
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes:
            module.training = mode
    return {name: m for name, m in moments.items() if m.count}


class _Feeding:
    """A forward pre-hook that feeds one layer's inputs to its moments."""

    def __init__(self, name: str, moments: Moments) -> None:
        self.name, self.moments = name, moments

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        feed(self.name, self.moments, args[0] if args else kwargs["input"])


def feed(name: str, moments: Moments, x: Tensor) -> None:
    """Add a batch of a layer's inputs. Raises BadInputError, naming the layer, where they are NaN or infinite."""
    try:
        moments.update(x)
    except BadInputError as error:
        raise BadInputError(f"the inputs of layer {name!r} are NaN or infinite", error.why, error.try_) from error
