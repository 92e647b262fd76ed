"""ATen's pooling, means, sums and upsampling."""
from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch.nn import functional as F

from edgelr.graph.aten import At, NotSupportedError, Site, rule
from edgelr.graph.aten_layers import each
from edgelr.graph.batch import Batch
from edgelr.graph.ops import Bilinear, MaxPool, Nearest, Shape


@rule("max_pool1d.default", "max_pool2d.default", samples_first=True)
def max_pool(s: Site, x: str, kernel: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False) -> str:
    d = len(s.shape) - 1
    kernels = each(kernel, d)
    strides = each(stride, d) if stride else kernels
    before = each(padding, d)
    if each(dilation, d) != (1,) * d:
        raise NotSupportedError("dilated max pooling")
    after = _after(s.b.shapes[x][1:], s.shape[1:], kernels, strides, before)
    return s.b.windowed(s.name, MaxPool(kernels, strides, (*before, *after)), x, s.single)


def _after(sizes: Shape, out: Shape, kernel: Shape, stride: Shape, before: Shape) -> tuple[int, ...]:
    """Pads after each axis which give the wanted output size, never less than before (ceil_mode needs more)."""
    return tuple(max(p, (o - 1) * s + k - i - p) for i, o, k, s, p in zip(sizes, out, kernel, stride, before, strict=True))


@rule("avg_pool1d.default", "avg_pool2d.default", samples_first=True)
def avg_pool(s: Site, x: str, kernel: Any, stride: Any = (), padding: Any = 0, ceil_mode: bool = False, count_pads: bool = True,
             divisor: int | None = None) -> str:
    """The mean of whole windows; where torch divides by something else, times that place's ratio."""
    d = len(s.shape) - 1
    kernels, before = each(kernel, d), each(padding, d)
    strides = each(stride, d) if stride else kernels
    after = _after(s.b.shapes[x][1:], s.shape[1:], kernels, strides, before)
    ones = torch.ones(1, *s.b.shapes[x][1:])
    if d == 1:
        torchs = F.avg_pool1d(ones, kernels, strides, before, ceil_mode, count_pads)
    else:
        torchs = F.avg_pool2d(ones, kernels, strides, before, ceil_mode, count_pads, divisor)
    inside = F.pad(ones, [p for pair in zip(reversed(before), reversed(after), strict=True) for p in pair])
    ratio = torchs / (F.avg_pool1d(inside, kernels, strides) if d == 1 else F.avg_pool2d(inside, kernels, strides))
    pooled = s.b.window_mean(s.name, x, kernels, strides, (*before, *after))
    if torch.allclose(ratio, ratio.flatten()[0].expand_as(ratio), rtol=1e-6):
        ratio = ratio.flatten()[0]
    return pooled if ratio.numel() == 1 and abs(float(ratio) - 1) < 1e-6 else s.b.scaled(f"{s.name}/ratio", pooled, ratio, True)


@rule("adaptive_avg_pool1d.default", "adaptive_avg_pool2d.default", samples_first=True)
def adaptive_avg_pool(s: Site, x: str, size: Any) -> str:
    sizes, out = s.b.shapes[x][1:], s.shape[1:]
    if sizes == out:
        return x
    if set(out) == {1}:
        return s.b.mean(s.name, x, tuple(range(1, len(sizes) + 1)), keep=True)
    if any(i % o for i, o in zip(sizes, out, strict=True)):
        raise NotSupportedError(f"adaptive pooling from {sizes} to {out}, which are not multiples")
    kernel = tuple(i // o for i, o in zip(sizes, out, strict=True))
    return s.b.window_mean(s.name, x, kernel, kernel, (0,) * 2 * len(kernel))


def _axes(s: Site, axes: Any) -> tuple[int, ...]:
    return tuple(sorted(s.axis(a) for a in ([axes] if isinstance(axes, int) else axes)))


def _left(s: Site, result: str, keep: bool) -> str | At:
    """The mean's value where torch keeps its axes, or has them not."""
    if keep:
        return result
    lengths = list(s.torch_out)
    batch = next(Batch(a, s.batch.before, s.batch.merged) for a in range(len(lengths)) if lengths[a] == s.torch_in[s.batch.axis]
                 and s.b.shapes[result] == Batch(a, s.batch.before, s.batch.merged).without(lengths))
    return At(result, batch)


@rule("mean.dim")
def mean(s: Site, x: str, axes: Any, keep: bool = False, **_: Any) -> str | At:
    return _left(s, s.b.mean(s.name, x, _axes(s, axes), keep), keep)


@rule("sum.dim_IntList")
def total(s: Site, x: str, axes: Any, keep: bool = False, **_: Any) -> str | At:
    wanted = _axes(s, axes)
    places = float(prod(s.b.shapes[x][a] for a in wanted))
    return _left(s, s.b.scaled(f"{s.name}/places", s.b.mean(s.name, x, wanted, keep), torch.tensor(places), True), keep)


@rule("upsample_nearest1d.vec", "upsample_nearest2d.vec", "upsample_bilinear2d.vec", samples_first=True)
def upsample(s: Site, x: str, size: Any, *rest: Any) -> str:
    sizes = s.b.shapes[x][1:]
    if any(o % i for i, o in zip(sizes, s.shape[1:], strict=True)):
        raise NotSupportedError(f"upsampling from {sizes} to {s.shape[1:]}, which is no whole factor")
    factors = tuple(o // i for i, o in zip(sizes, s.shape[1:], strict=True))
    if "bilinear" not in s.kind:
        return s.b.add(s.name, Nearest(factors), x)
    if rest[0]:
        raise NotSupportedError("bilinear upsampling with align_corners=True")
    return s.b.add(s.name, Bilinear((factors[0], factors[1])), x)
