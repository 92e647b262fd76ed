"""ATen's sums, products and quotients."""
from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from edgelr.graph.aten import NotSupportedError, Site, rule
from edgelr.graph.aten_activations import MASKING
from edgelr.graph.ops import Add, AddConstant, Mul


def own(s: Site, constant: Any) -> Tensor:
    """A constant in our axes of the result, each of its length or 1."""
    value = torch.as_tensor(constant, dtype=torch.float32).detach()
    if value.dim() > len(s.torch_in):
        raise NotSupportedError(f"a constant of shape {tuple(value.shape)} has more axes than the values it meets")
    return s.batch.constant(value, len(s.torch_in))


def spread(s: Site, x: str) -> str:
    """A value without the expansion that made it, which sums and products do by themselves."""
    op = s.b.maker(x)
    plain = isinstance(op, AddConstant) and not bool(op.value.any()) and len(op.value.shape) == len(s.b.shapes[s.b.nodes[x].inputs[0]])
    return s.b.nodes[x].inputs[0] if plain else x


@rule("add.Tensor", "add_.Tensor", "add.Scalar")
def add(s: Site, a: Any, b: Any, alpha: float = 1) -> str:
    if not isinstance(a, str):
        return add(s, s.b.scaled(f"{s.name}/alpha", b, torch.tensor(float(alpha)), s.single) if alpha != 1 else b, a)
    if not isinstance(b, str):
        return s.b.shifted(s.name, a, own(s, b) * alpha, s.single)
    if alpha != 1:
        b = s.b.scaled(f"{s.name}/alpha", b, torch.tensor(float(alpha)), False)
    return s.b.add(s.name, Add(), spread(s, a), spread(s, b))


@rule("sub.Tensor", "sub_.Tensor", "sub.Scalar")
def sub(s: Site, a: Any, b: Any, alpha: float = 1) -> str:
    return str(add(s, a, b, -alpha))


@rule("rsub.Scalar", "rsub.Tensor")
def rsub(s: Site, a: Any, b: Any, alpha: float = 1) -> str:
    return str(add(s, b, a, -alpha))


@rule("neg.default")
def neg(s: Site, x: str) -> str:
    return s.b.scaled(s.name, x, torch.tensor(-1.0), s.single)


@rule("mul.Tensor", "mul_.Tensor", "mul.Scalar")
def mul(s: Site, a: Any, b: Any) -> str:
    a, b = (a, b) if isinstance(a, str) else (b, a)
    if isinstance(b, str):
        return s.b.add(s.name, Mul(), spread(s, a), spread(s, b))
    return s.b.scaled(s.name, a, own(s, b), s.single)


@rule("div.Tensor", "div_.Tensor", "div.Scalar")
def div(s: Site, a: Any, b: Any) -> str:
    if isinstance(b, str) or not isinstance(a, str):
        raise NotSupportedError("division by an activation")
    return s.b.scaled(s.name, a, 1 / own(s, b), s.single)


@rule("pow.Tensor_Scalar")
def power(s: Site, x: str, exponent: float) -> str:
    if exponent != 2:
        raise NotSupportedError(f"the power {exponent}: only squares have an integer form")
    return s.b.add(s.name, Mul(), x, x)


@rule("square.default")
def square(s: Site, x: str) -> str:
    return s.b.add(s.name, Mul(), x, x)


@rule("masked_fill.Scalar", "masked_fill_.Scalar")
def masked_fill(s: Site, x: str, mask: Any, value: float) -> str:
    """What is masked out of a softmax."""
    if isinstance(mask, str) or value > MASKING:
        raise NotSupportedError("a mask that is computed, or fills in something else than minus infinity")
    fill = torch.where(mask, torch.tensor(float("-inf")), torch.tensor(0.0))
    return s.b.add(s.name, AddConstant(own(s, fill)), x)
