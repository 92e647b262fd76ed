"""ATen's operations in the graph's words: one short rule each. A rule gets the site and ATen's own arguments."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from edgelr.graph.build import Builder
from edgelr.graph.ops import (
    RELU,
    RELU6,
    Add,
    Bilinear,
    Concat,
    Conv,
    LeakyRelu,
    Linear,
    MaxPool,
    Mul,
    Nearest,
    Pad,
    Permute,
    Reshape,
    Shape,
    Shift,
    Sigmoid,
    Softmax,
)

INFINITY = float("inf")


class NotSupportedError(Exception):
    """Why this use of an operation has no form here; ``capture`` adds where."""


@dataclass(frozen=True)
class Site:
    """Where a rule works: the graph so far, the module's ``path``, the result's shape, and whether only it reads its inputs."""

    b: Builder
    path: str
    kind: str
    shape: Shape
    single: bool

    @property
    def name(self) -> str:
        return f"{self.path}/{self.kind}" if self.path else self.kind

    @property
    def owner(self) -> str:
        """A name for the operation that holds the module's weights: the module's own."""
        return self.path or self.kind


RULES: dict[str, Callable[..., Any]] = {}


def rule(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        RULES.update(dict.fromkeys(names, function))
        return function
    return register


def _each(value: int | Sequence[int], d: int) -> tuple[int, ...]:
    values = [value] if isinstance(value, int) else list(value)
    return tuple(values * d if len(values) == 1 else values)


@rule("conv1d.default", "conv2d.default", "conv1d.padding", "conv2d.padding")
def conv(s: Site, x: str, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
         groups: int = 1) -> str:
    d = weight.dim() - 2
    strides, dilations = _each(stride, d), _each(dilation, d)
    if padding == "same":  # torch puts the odd zero after
        total = [dl * (k - 1) for dl, k in zip(dilations, weight.shape[2:], strict=True)]
        pads = (*(t // 2 for t in total), *(t - t // 2 for t in total))
    else:
        pads = _each(0 if padding == "valid" else padding, d) * 2
    bias = torch.zeros(weight.shape[0]) if bias is None else bias
    return s.b.windowed(s.owner, Conv(weight, bias, strides, pads, dilations, groups), x, s.single)


@rule("linear.default")
def linear(s: Site, x: str, weight: Tensor, bias: Tensor | None = None) -> str:
    return s.b.add(s.owner, Linear(weight, torch.zeros(weight.shape[0]) if bias is None else bias), x)


@rule("batch_norm.default")
def batch_norm(s: Site, x: str, weight: Tensor | None, bias: Tensor | None, mean: Tensor, var: Tensor, training: bool,
               momentum: float, eps: float, cudnn: bool) -> str:
    if training or mean is None:
        raise NotSupportedError("batch norm without stored statistics")
    scale = (var + eps).rsqrt() * (1 if weight is None else weight)
    single = s.single if isinstance(s.b.maker(x), Conv | Linear) else False
    return s.b.affine(s.owner, x, scale, -mean * scale + (0 if bias is None else bias), single)


@rule("relu.default", "relu_.default")
def relu(s: Site, x: str) -> str:
    return s.b.clamp(s.name, x, RELU, s.single)


@rule("relu6.default", "relu6_.default")
def relu6(s: Site, x: str) -> str:
    return s.b.clamp(s.name, x, RELU6, s.single)


@rule("hardtanh.default", "hardtanh_.default", "clamp.default", "clamp_.default", "clamp_min.default", "clamp_max.default")
def clamp(s: Site, x: str, low: float | None = None, high: float | None = None) -> str:
    if s.kind.startswith("hardtanh"):
        low, high = -1.0 if low is None else low, 1.0 if high is None else high
    if s.kind == "clamp_max":
        low, high = None, low
    return s.b.clamp(s.name, x, (-INFINITY if low is None else float(low), INFINITY if high is None else float(high)), s.single)


@rule("hardsigmoid.default", "hardsigmoid_.default")
def hard_sigmoid(s: Site, x: str) -> str:
    """relu6(x + 3) / 6: a scale and a shift, bounded to [0, 1]."""
    gate = s.b.affine(s.name, x, torch.tensor(1 / 6), torch.tensor(0.5), s.single)
    return s.b.clamp(f"{s.name}/bound", gate, (0.0, 1.0), True)


@rule("hardswish.default", "hardswish_.default")
def hard_swish(s: Site, x: str) -> str:
    """x * relu6(x + 3) / 6. The sixth goes into the weights behind; what is below -3 gives 0 and needs no place on x's grid."""
    x = s.b.clamp(f"{s.name}/useful", x, (-3.0, INFINITY), s.single)
    product = s.b.add(s.name, Mul(), x, s.b.add(f"{s.name}/gate", Shift(3.0, RELU6), x))
    return s.b.affine(f"{s.name}/sixth", product, torch.tensor(1 / 6), torch.tensor(0.0), False)


@rule("sigmoid.default", "sigmoid_.default")
def sigmoid(s: Site, x: str) -> str:
    return s.b.add(s.name, Sigmoid(), x)


@rule("silu.default", "silu_.default")
def silu(s: Site, x: str) -> str:
    return s.b.add(s.name, Mul(), x, s.b.add(f"{s.name}/gate", Sigmoid(), x))


@rule("softmax.int", "_softmax.default")
def softmax(s: Site, x: str, axis: int, *_: Any) -> str:
    d = len(s.shape) + 1
    if axis % d == 0:
        raise NotSupportedError("softmax over the batch")
    return s.b.add(s.name, Softmax(axis % d - 1), x)


@rule("leaky_relu.default", "leaky_relu_.default")
def leaky_relu(s: Site, x: str, slope: float = 0.01) -> str:
    return s.b.add(s.name, LeakyRelu(slope), x)


def _channel(s: Site, shape: Shape, constant: Tensor) -> int:
    """The axis (without batch) along which a constant varies; raises where it varies along more than one."""
    dims = list(constant.shape)
    padded = [1] * (len(shape) + 1 - len(dims)) + dims
    varying = [a for a, n in enumerate(padded) if n > 1]
    if len(varying) > 1 or varying == [0] or len(padded) > len(shape) + 1:
        raise NotSupportedError(f"a constant of shape {tuple(constant.shape)} varies along more than one axis")
    return varying[0] - 1 if varying else 0


def _with_constant(s: Site, x: str, constant: Any, scale: bool) -> str:
    value = torch.as_tensor(constant, dtype=torch.float32)
    axis = _channel(s, s.b.shapes[x], value)
    one, zero = torch.tensor(1.0), torch.tensor(0.0)
    return s.b.affine(s.name, x, value if scale else one, zero if scale else value, s.single, axis)


@rule("add.Tensor", "add_.Tensor", "add.Scalar")
def add(s: Site, a: Any, b: Any, alpha: float = 1) -> str:
    if not isinstance(a, str):
        a, b = b, (a if alpha == 1 else None)
    if not isinstance(b, str):
        return _with_constant(s, a, torch.as_tensor(b, dtype=torch.float32) * alpha, scale=False)
    if alpha != 1:
        b = s.b.affine(f"{s.name}/alpha", b, torch.tensor(float(alpha)), torch.tensor(0.0), False)
    return s.b.add(s.name, Add(), a, b)


@rule("sub.Tensor", "sub_.Tensor", "sub.Scalar")
def sub(s: Site, a: Any, b: Any, alpha: float = 1) -> str:
    if not isinstance(a, str):
        raise NotSupportedError("a constant minus an activation")
    return str(add(s, a, b, -alpha))


@rule("mul.Tensor", "mul_.Tensor", "mul.Scalar")
def mul(s: Site, a: Any, b: Any) -> str:
    a, b = (a, b) if isinstance(a, str) else (b, a)
    return s.b.add(s.name, Mul(), a, b) if isinstance(b, str) else _with_constant(s, a, b, scale=True)


@rule("div.Tensor", "div_.Tensor", "div.Scalar")
def div(s: Site, a: Any, b: Any) -> str:
    if isinstance(b, str) or not isinstance(a, str):
        raise NotSupportedError("division by an activation")
    return _with_constant(s, a, 1 / torch.as_tensor(b, dtype=torch.float32), scale=True)


@rule("max_pool1d.default", "max_pool2d.default")
def max_pool(s: Site, x: str, kernel: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False) -> str:
    d = len(s.shape) - 1
    kernels = _each(kernel, d)
    strides = _each(stride, d) if stride else kernels
    before = _each(padding, d)
    if _each(dilation, d) != (1,) * d:
        raise NotSupportedError("dilated max pooling")
    after = _after(s.b.shapes[x][1:], s.shape[1:], kernels, strides, before)
    return s.b.windowed(s.name, MaxPool(kernels, strides, (*before, *after)), x, s.single)


def _after(sizes: Shape, out: Shape, kernel: Shape, stride: Shape, before: Shape) -> tuple[int, ...]:
    """Pads after each axis which give the wanted output size, never less than before (ceil_mode needs more)."""
    return tuple(max(p, (o - 1) * s + k - i - p) for i, o, k, s, p in zip(sizes, out, kernel, stride, before, strict=True))


@rule("avg_pool1d.default", "avg_pool2d.default")
def avg_pool(s: Site, x: str, kernel: Any, stride: Any = (), padding: Any = 0, ceil_mode: bool = False, count_pads: bool = True,
             divisor: int | None = None) -> str:
    d = len(s.shape) - 1
    kernels, before = _each(kernel, d), _each(padding, d)
    strides = _each(stride, d) if stride else kernels
    after = _after(s.b.shapes[x][1:], s.shape[1:], kernels, strides, before)
    if divisor is not None or after != before or (any(before) and not count_pads):
        raise NotSupportedError("average pooling whose divisor changes at the edge")
    return s.b.window_mean(s.name, x, kernels, strides, (*before, *after))


@rule("adaptive_avg_pool1d.default", "adaptive_avg_pool2d.default")
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


@rule("mean.dim")
def mean(s: Site, x: str, axes: Any, keep: bool = False, **_: Any) -> str:
    d = len(s.b.shapes[x]) + 1
    wanted = tuple(sorted(a % d - 1 for a in ([axes] if isinstance(axes, int) else axes)))
    if -1 in wanted:
        raise NotSupportedError("a mean over the batch")
    return s.b.mean(s.name, x, wanted, keep)


@rule("cat.default")
def cat(s: Site, xs: list[str], axis: int = 0) -> str:
    axis %= len(s.shape) + 1
    if axis == 0 or not all(isinstance(x, str) for x in xs):
        raise NotSupportedError("a concatenation of samples or with a constant")
    return s.b.add(s.name, Concat(axis - 1), *xs)


@rule("flatten.using_ints", "view.default", "reshape.default", "squeeze.dim", "squeeze.dims", "unsqueeze.default", "_unsafe_view.default",
      "unflatten.int")
def reshape(s: Site, x: str, *_: Any) -> str:
    return x if s.b.shapes[x] == s.shape else s.b.add(s.name, Reshape(s.shape), x)


@rule("permute.default")
def permute(s: Site, x: str, axes: list[int]) -> str:
    d = len(s.shape) + 1
    order = [a % d for a in axes]
    if order[0] != 0:
        raise NotSupportedError("a permutation that moves the batch")
    return s.b.add(s.name, Permute(tuple(a - 1 for a in order[1:])), x)


@rule("transpose.int")
def transpose(s: Site, x: str, a: int, b: int) -> str:
    order = list(range(len(s.shape) + 1))
    order[a], order[b] = order[b], order[a]
    return str(permute(s, x, order))


@rule("pad.default", "constant_pad_nd.default")
def pad(s: Site, x: str, pads: list[int], mode: Any = "constant", value: float | None = None) -> str:
    if not isinstance(mode, str):  # constant_pad_nd has its value here
        mode, value = "constant", mode
    if mode == "circular":
        raise NotSupportedError("circular padding")
    d = len(s.shape)
    pairs = [(0, 0)] * (d - len(pads) // 2) + [(pads[i], pads[i + 1]) for i in range(len(pads) - 2, -1, -2)]
    if len(pads) // 2 > d or min(pads) < 0:
        raise NotSupportedError("padding of the batch, or a negative one")
    if mode == "replicate" and max(pads) > 1:
        raise NotSupportedError("replicate padding of more than one cell, which no .tflite operation writes")
    both = (*(p[0] for p in pairs), *(p[1] for p in pairs))
    return s.b.add(s.name, Pad(both, {"constant": "constant", "reflect": "reflect", "replicate": "edge"}[mode], value or 0.0), x)


@rule("upsample_nearest1d.vec", "upsample_nearest2d.vec", "upsample_bilinear2d.vec")
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


@rule("dropout.default", "dropout_.default", "feature_dropout.default", "clone.default", "contiguous.default", "detach.default",
      "alias.default", "lift_fresh_copy.default")
def same(s: Site, x: Any, *_: Any, **__: Any) -> Any:
    return x


@rule("to.dtype", "_to_copy.default")
def cast(s: Site, x: str, dtype: torch.dtype = torch.float32, *_: Any, **__: Any) -> str:
    if dtype != torch.float32:
        raise NotSupportedError(f"a cast to {dtype}: all values are float32 before they are integers")
    return x
