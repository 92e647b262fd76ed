"""ATen's products of two activations and its attention."""
from __future__ import annotations

from math import sqrt
from typing import Any

import torch
from torch import Tensor

from edgelr.graph.aten import NotSupportedError, Site, rule
from edgelr.graph.aten_activations import MASKING
from edgelr.graph.aten_arithmetic import own
from edgelr.graph.ops import Add, Linear, MatMul, Permute, Softmax


def _before_the_last_two(s: Site) -> None:
    """Raise NotSupportedError where a product would run over the batch."""
    for axis in (-1, -2):
        s.axis(axis)


def _product(s: Site, name: str, a: str, b: str, turn_b: bool = False) -> str:
    """a @ b, with a permutation that only swaps the last two axes of either taken into the product."""
    a, turn_a = _unturned(s, a)
    b, turned = _unturned(s, b)
    return s.b.add(name, MatMul(turn_a, turn_b != turned), a, b)


def _unturned(s: Site, value: str) -> tuple[str, bool]:
    op, rank = s.b.maker(value), len(s.b.shapes[value])
    turned = isinstance(op, Permute) and op.axes == (*range(rank - 2), rank - 1, rank - 2)
    return (s.b.nodes[value].inputs[0], True) if turned else (value, False)


@rule("matmul.default", "bmm.default")
def matmul(s: Site, a: Any, b: Any) -> str:
    if isinstance(a, str) and isinstance(b, Tensor) and b.dim() == 2:
        s.axis(-1)
        return s.b.add(s.owner, Linear(b.detach().t().contiguous(), torch.zeros(b.shape[1])), a)
    if not isinstance(a, str) or not isinstance(b, str) or len(s.b.shapes[a]) != len(s.b.shapes[b]):
        raise NotSupportedError("this product of an activation and a constant, or of values with different numbers of axes")
    _before_the_last_two(s)
    return _product(s, s.name, a, b)


@rule("scaled_dot_product_attention.default")
def attention(s: Site, query: str, key: str, value: str, mask: Any = None, dropout: float = 0.0, is_causal: bool = False,
              *, scale: float | None = None, enable_gqa: bool = False) -> str:
    """softmax(q k' * scale + mask) v. The scale goes onto q, which is smaller than the scores."""
    if enable_gqa and s.b.shapes[query] != s.b.shapes[key]:
        raise NotSupportedError("attention with fewer heads of keys than of queries")
    _before_the_last_two(s)
    rows, columns = s.b.shapes[query][-2], s.b.shapes[key][-2]
    factor = torch.tensor(1 / sqrt(s.b.shapes[query][-1]) if scale is None else scale)
    scores = _product(s, f"{s.name}/scores", s.b.scaled(f"{s.name}/scale", query, factor, False), key, True)
    if is_causal:
        mask = torch.ones(rows, columns, dtype=torch.bool).tril()
    last = len(s.b.shapes[scores]) - 1
    if isinstance(mask, str):
        scores, mask = s.b.add(f"{s.name}/bias", Add(), scores, mask), None
    elif mask is not None:
        if mask.dtype == torch.bool:
            mask = torch.where(mask, torch.tensor(0.0), torch.tensor(float("-inf")))
        mask = own(s, mask)
        if bool((mask >= MASKING).all()):  # a bias: it has a place on a grid
            scores, mask = s.b.shifted(f"{s.name}/bias", scores, mask, True), None
    return s.b.add(s.name, MatMul(), s.b.add(f"{s.name}/softmax", Softmax(last, mask), scores), value)
