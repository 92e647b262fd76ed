"""What a layer is, apart from its weights: read once from the torch module, then used by every step of this room."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal, cast

import torch
from torch import nn

from edgelr.errors import UnsupportedError
from edgelr.factorize.gates import Gates

Kind = Literal["conv1d", "conv2d", "linear", "recurrent"]
KINDS: dict[type[nn.Module], Kind] = {nn.Conv1d: "conv1d", nn.Conv2d: "conv2d", nn.Linear: "linear", Gates: "recurrent"}
PLAIN = (nn.Conv1d, nn.Conv2d, nn.Linear)


@dataclass(frozen=True)
class Geometry:
    """Shape and arithmetic of one Conv1d, Conv2d, Linear or gate matrix.

    ``weight_shape`` is torch's: (out, in / groups, *kernel) or (out, in). ``padding`` is "same", "valid" or one number a direction.
    ``kernel``, ``stride``, ``padding``, ``dilation`` are () for the last two; ``groups`` of a gate matrix are its gates.
    """

    kind: Kind
    weight_shape: tuple[int, ...]
    bias: bool
    dtype: torch.dtype
    device: torch.device
    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] | str = ()
    dilation: tuple[int, ...] = ()
    padding_mode: str = "zeros"
    groups: int = 1

    @property
    def out_channels(self) -> int:
        return self.weight_shape[0]

    @property
    def in_channels(self) -> int:
        return self.weight_shape[1] * self.input_groups

    @property
    def input_groups(self) -> int:
        """Groups that read inputs of their own: gates all read the same."""
        return 1 if self.kind == "recurrent" else self.groups

    @property
    def patch_size(self) -> int:
        """Numbers that one output of one group reads: in / groups * kernel positions."""
        return prod(self.weight_shape[1:])

    def pads(self) -> list[tuple[int, int]]:
        """Padding before and after, for each direction. "same" puts the odd one after, as torch does."""
        if self.padding == "valid":
            return [(0, 0) for _ in self.kernel]
        if self.padding == "same":
            totals = [d * (k - 1) for k, d in zip(self.kernel, self.dilation, strict=True)]
            return [(t // 2, t - t // 2) for t in totals]
        return [(p, p) for p in cast(tuple[int, ...], self.padding)]


def why_not_plain(module: nn.Module) -> str:
    """Why ``module`` is not a plain torch Conv1d, Conv2d or Linear, or a gate matrix; "" where it is.

    Subclasses don't count: their own forward (or their owner's, as in attention) uses the weight in ways that a pair can't repeat.
    """
    kind = type(module).__name__
    if type(module) not in KINDS:
        bases = [base.__name__ for base in PLAIN if isinstance(module, base)]
        return f"{kind} is a variant of {bases[0]} with behaviour of its own" if bases else f"{kind} is not a Conv1d, Conv2d or Linear"
    weight = dict(module.named_parameters(recurse=False)).get("weight")
    if weight is None:
        return "its weight is computed from other parameters (weight or spectral norm)"
    if not weight.is_floating_point():
        return f"its weight is {weight.dtype}, not real floating point"
    return ""


def geometry_of(module: nn.Module) -> Geometry:
    """Read the geometry of a plain layer. Raises UnsupportedError for any other module."""
    reason = why_not_plain(module)
    if reason:
        raise UnsupportedError(f"a {type(module).__name__} can't be factorised", reason, "leave this layer dense")
    weight = cast(torch.Tensor, module.weight)
    common = (KINDS[type(module)], tuple(weight.shape), module.bias is not None, weight.dtype, weight.device)
    if isinstance(module, Gates):
        return Geometry(*common, groups=module.gates)
    if isinstance(module, nn.Linear):
        return Geometry(*common)
    conv = cast(nn.Conv1d | nn.Conv2d, module)
    padding = conv.padding if isinstance(conv.padding, str) else _ints(conv.padding)
    return Geometry(*common, _ints(conv.kernel_size), _ints(conv.stride), padding, _ints(conv.dilation), conv.padding_mode, conv.groups)


def _ints(values: Sequence[int]) -> tuple[int, ...]:
    return tuple(int(v) for v in values)
