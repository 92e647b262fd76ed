"""How a network is run in training: in bfloat16 where the processor is quicker at it, and in the memory order that its kernels like."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

Precision = Literal["auto", "float32", "bfloat16"]

# Of torch.cpu.get_capabilities(): what multiplies bfloat16 in hardware. Processors without it widen each number first, and are slower.
QUICK = ("avx512_bf16", "amx_bf16", "avx10_1", "avx10_2", "bf16")


def quick_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 quicker than float32. False where torch can't tell (before 2.11)."""
    capabilities: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(bool(capabilities.get(name)) for name in QUICK)


def chosen(net: nn.Module, precision: Precision) -> Literal["float32", "bfloat16"]:
    """What "auto" is for a network on this processor.

    A training step of ResNet-20's shape took 0.53 of float32's time in bfloat16 on one core with avx512_bf16, one four times as wide
    0.52; an LSTM of 64 units 0.36, but a GRU 1.2. Recurrent networks are small and add up hundreds of steps: they stay in float32.
    """
    if precision != "auto":
        return precision
    kinds = {kind for m in net.modules() for kind in (nn.Conv2d, nn.RNNBase) if isinstance(m, kind)}
    return "bfloat16" if kinds == {nn.Conv2d} and quick_bfloat16() else "float32"


def forward_of(net: nn.Module, precision: Precision = "auto") -> Callable[[Tensor], Tensor]:
    """What runs ``net`` on inputs [b, ...] in ``precision`` and gives its output in float32: a loss is never in fewer digits.

    Weights stay in float32, those of 2-d convolutions in the memory order that the loop gives inputs in (channels last).
    """
    low = chosen(net, precision) == "bfloat16"
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def run(x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            made: Tensor = net(x)
        return made.float()

    return run
