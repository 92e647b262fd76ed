"""Batch-norm statistics of the weights as they are now."""
from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from edgelr.training.batches import Batch

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@torch.no_grad()
def recalibrate(net: nn.Module, batches: Iterable[Batch]) -> None:
    """Replace the statistics of every batch norm by their mean over ``batches``; weights and modes stay as they are."""
    norms = [m for m in net.modules() if isinstance(m, NORMS) and m.track_running_stats]
    if not norms:
        return
    modes = {m: m.training for m in net.modules()}
    momentum = {m: m.momentum for m in norms}
    net.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch: the mean of all batches
        norm.train()
    for x, _ in batches:
        net(x)
    for norm in norms:
        norm.momentum = momentum[norm]
    for module, mode in modes.items():
        module.training = mode
