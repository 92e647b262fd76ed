"""ATen's operations that move values: reshapes, permutations, parts, joins; and those that do nothing."""
from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from edgelr.graph.aten import At, NotSupportedError, Site, rule
from edgelr.graph.aten_arithmetic import own
from edgelr.graph.ops import AddConstant, Concat, Pad


@rule("flatten.using_ints", "view.default", "reshape.default", "squeeze.dim", "squeeze.dims", "squeeze.default", "unsqueeze.default",
      "_unsafe_view.default", "unflatten.int", "reshape_as.default", "view_as.default")
def reshape(s: Site, x: str, *_: Any) -> At:
    batch = s.batch.reshaped(s.torch_in, s.torch_out)
    return At(s.b.reshape(s.name, x, batch.without(s.torch_out)), batch)


@rule("permute.default")
def permute(s: Site, x: str, axes: Sequence[int]) -> At:
    order = [a % len(s.torch_in) for a in axes]
    return At(s.b.permute(s.name, x, s.batch.ours_permuted(order)), s.batch.permuted(order))


@rule("transpose.int")
def transpose(s: Site, x: str, a: int, b: int) -> At:
    order = list(range(len(s.torch_in)))
    order[a], order[b] = order[b], order[a]
    return permute(s, x, order)


@rule("mT.default")
def turned(s: Site, x: str) -> At:
    return transpose(s, x, -2, -1)


@rule("expand.default", "expand_as.default")
def expand(s: Site, x: str, *_: Any, **__: Any) -> str:
    """Values repeated along axes of length 1: a sum with zeros of the wanted shape, which sums and products behind leave out."""
    if len(s.torch_out) != len(s.torch_in):
        raise NotSupportedError("an expansion that puts axes in front")
    return x if s.b.shapes[x] == s.shape else s.b.add(s.name, AddConstant(torch.zeros(s.shape)), x)


def _dropped(s: Site, name: str, x: str, axis: int) -> At:
    """A value of length 1 on a torch axis, without that axis."""
    axis %= len(s.torch_in)
    before = [1 if a == axis else n for a, n in enumerate(s.torch_in)]
    after = [n for a, n in enumerate(s.torch_in) if a != axis]
    batch = s.batch.reshaped(before, after)
    return At(s.b.reshape(name, x, batch.without(after)), batch)


@rule("slice.Tensor")
def part(s: Site, x: str, axis: int = 0, start: int | None = None, stop: int | None = None, step: int = 1) -> str:
    length = s.torch_in[axis]
    first, last, _ = slice(start, None if stop is None or stop >= sys.maxsize else stop).indices(length)
    if (first, last, step) == (0, length, 1):
        return x
    if last <= first:
        raise NotSupportedError("an empty part of a value")
    return s.b.part(s.name, x, s.axis(axis), first, last, step)


@rule("narrow.default")
def narrow(s: Site, x: str, axis: int, start: int, length: int) -> str:
    return part(s, x, axis, start, start % s.torch_in[axis] + length)


@rule("select.int")
def select(s: Site, x: str, axis: int, index: int) -> At:
    index %= s.torch_in[axis]
    return _dropped(s, f"{s.name}/flat", s.b.part(s.name, x, s.axis(axis), index, index + 1), axis)


@rule("unbind.int")
def unbind(s: Site, x: str, axis: int = 0) -> list[At]:
    own_axis = s.axis(axis)
    return [_dropped(s, f"{s.name}/{i}/flat", s.b.part(f"{s.name}/{i}", x, own_axis, i, i + 1), axis) for i in range(s.torch_in[axis])]


def _cut(s: Site, x: str, sizes: Sequence[int], axis: int) -> list[At]:
    own_axis, parts, at = s.axis(axis), [], 0
    for i, size in enumerate(sizes):
        parts.append(At(s.b.part(f"{s.name}/{i}", x, own_axis, at, at + size), s.batch))
        at += size
    return parts


@rule("split_with_sizes.default")
def split_with_sizes(s: Site, x: str, sizes: Sequence[int], axis: int = 0) -> list[At]:
    return _cut(s, x, sizes, axis)


@rule("split.Tensor")
def split(s: Site, x: str, size: int, axis: int = 0) -> list[At]:
    length = s.torch_in[axis]
    return _cut(s, x, [min(size, length - at) for at in range(0, length, size)], axis)


@rule("chunk.default")
def chunk(s: Site, x: str, n: int, axis: int = 0) -> list[At]:
    return split(s, x, -(-s.torch_in[axis] // n), axis)


@rule("cat.default")
def cat(s: Site, xs: list[Any], axis: int = 0) -> str:
    """Constants at either end (a class token) are a padding with zeros and a sum."""
    if len(s.torch_in) != len(s.torch_out):
        raise NotSupportedError("a concatenation of values with different numbers of axes")
    along = s.axis(axis)
    if all(isinstance(x, str) for x in xs):
        return s.b.add(s.name, Concat(along), *xs)
    names = [x for x in xs if isinstance(x, str)]
    first = next(i for i, x in enumerate(xs) if isinstance(x, str))
    whole = [-1 if a == along else n for a, n in enumerate(s.shape)]
    ends = {i: own(s, x).expand(whole) for i, x in enumerate(xs) if isinstance(x, Tensor)}
    if len(names) + len(ends) != len(xs) or any(not isinstance(x, str) for x in xs[first : first + len(names)]):
        raise NotSupportedError("a concatenation with a constant in the middle")
    before = sum(v.shape[along] for i, v in ends.items() if i < first)
    after = sum(v.shape[along] for i, v in ends.items() if i > first)
    x = names[0] if len(names) == 1 else s.b.add(f"{s.name}/values", Concat(along), *names)
    shape = s.b.shapes[x]
    pads = (*(before if a == along else 0 for a in range(len(shape))), *(after if a == along else 0 for a in range(len(shape))))
    values = [torch.zeros(shape) if i == first else ends[i] for i in range(len(xs)) if i == first or i in ends]
    return s.b.shifted(s.name, s.b.add(f"{s.name}/room", Pad(pads), x), torch.cat(values, along), True)


@rule("stack.default")
def stack(s: Site, xs: list[Any], axis: int = 0) -> At:
    if not all(isinstance(x, str) for x in xs):
        raise NotSupportedError("a stack with a constant")
    axis %= len(s.torch_out)
    one = [1 if a == axis else n for a, n in enumerate(s.torch_out)]
    batch = s.batch.reshaped(s.torch_in, one)
    lifted = [s.b.reshape(f"{s.name}/{i}", x, batch.without(one)) for i, x in enumerate(xs)]
    return At(s.b.add(s.name, Concat(batch.ours(axis, len(one))), *lifted), batch)


@rule("roll.default")
def roll(s: Site, x: str, shifts: Sequence[int], axes: Sequence[int] = ()) -> str:
    if len(axes) != len(shifts):
        raise NotSupportedError("a roll of the flattened values")
    for i, (shift, axis) in enumerate(zip(shifts, axes, strict=True)):
        own_axis = s.axis(axis)
        length = s.b.shapes[x][own_axis]
        at = -shift % length
        if at:
            ends = [s.b.part(f"{s.name}/{i}/{k}", x, own_axis, a, b) for k, a, b in (("first", at, length), ("last", 0, at))]
            x = s.b.add(f"{s.name}/{i}", Concat(own_axis), *ends)
    return x


@rule("pixel_shuffle.default", samples_first=True)
def pixel_shuffle(s: Site, x: str, factor: int) -> str:
    c, h, w = s.b.shapes[x]
    parts = s.b.reshape(f"{s.name}/parts", x, (c // factor**2, factor, factor, h, w))
    return s.b.reshape(s.name, s.b.permute(f"{s.name}/order", parts, (0, 3, 1, 4, 2)), s.shape)


@rule("pad.default", "constant_pad_nd.default")
def pad(s: Site, x: str, pads: list[int], mode: Any = "constant", value: float | None = None) -> str:
    if not isinstance(mode, str):  # constant_pad_nd has its value here
        mode, value = "constant", mode
    if mode == "circular":
        raise NotSupportedError("circular padding")
    if min(pads) < 0:
        raise NotSupportedError("a negative padding: cut the value instead")
    pairs = [(0, 0)] * len(s.b.shapes[x])
    for i in range(0, len(pads), 2):
        if pads[i] or pads[i + 1]:
            pairs[s.axis(-1 - i // 2)] = (pads[i], pads[i + 1])
    if mode == "replicate" and max(pads) > 1:
        raise NotSupportedError("replicate padding of more than one cell, which no .tflite operation writes")
    both = (*(p[0] for p in pairs), *(p[1] for p in pairs))
    return s.b.add(s.name, Pad(both, {"constant": "constant", "reflect": "reflect", "replicate": "edge"}[mode], value or 0.0), x)


@rule("dropout.default", "dropout_.default", "feature_dropout.default", "clone.default", "contiguous.default", "detach.default",
      "alias.default", "lift_fresh_copy.default")
def same(s: Site, x: Any, *_: Any, **__: Any) -> Any:
    return x


@rule("to.dtype", "_to_copy.default")
def cast(s: Site, x: str, dtype: torch.dtype = torch.float32, *_: Any, **__: Any) -> str:
    if dtype != torch.float32:
        raise NotSupportedError(f"a cast to {dtype}: all values are float32 before they are integers")
    return x
