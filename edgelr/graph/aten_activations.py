"""ATen's activations."""
from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from edgelr.graph.aten import NotSupportedError, Site, rule
from edgelr.graph.ops import RELU, RELU6, Add, AddConstant, Elu, Gelu, LeakyRelu, Mul, MulConstant, Shift, Sigmoid, Softmax, Tanh

INFINITY = float("inf")
MASKING = -30.0  # what is added to a score to leave it no share: exp(-30) is 1e-13. On a grid it would cost the scores their resolution


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
    mask = s.b.maker(x)
    if isinstance(mask, AddConstant) and bool((mask.value < MASKING).any()):
        return s.b.add(s.name, Softmax(s.axis(axis), mask.value), s.b.nodes[x].inputs[0])
    return s.b.add(s.name, Softmax(s.axis(axis)), x)


@rule("leaky_relu.default", "leaky_relu_.default")
def leaky_relu(s: Site, x: str, slope: float = 0.01) -> str:
    return s.b.add(s.name, LeakyRelu(slope), x)


@rule("gelu.default", "gelu_.default")
def gelu(s: Site, x: str, approximate: str = "none") -> str:
    return s.b.add(s.name, Gelu(approximate == "tanh"), x)


@rule("tanh.default", "tanh_.default")
def tanh(s: Site, x: str) -> str:
    return s.b.add(s.name, Tanh(), x)


@rule("elu.default", "elu_.default")
def elu(s: Site, x: str, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> str:
    if (alpha, scale, input_scale) != (1, 1, 1):
        raise NotSupportedError("an ELU of another steepness than 1 (SELU, CELU), which no .tflite operation computes")
    return s.b.add(s.name, Elu(), x)


@rule("prelu.default", samples_first=True)
def prelu(s: Site, x: str, slope: Tensor) -> str:
    """relu(x) - slope * relu(-x), a slope for each channel; a leaky ReLU where there is one slope."""
    if slope.numel() == 1:
        return s.b.add(s.owner, LeakyRelu(float(slope)), x)
    below = s.b.clamp(f"{s.name}/below", x, (-INFINITY, 0.0), False)
    scaled = s.b.add(f"{s.name}/slope", MulConstant(slope.view(-1, *(1,) * (len(s.shape) - 1))), below)
    return s.b.add(s.owner, Add(), s.b.clamp(f"{s.name}/above", x, RELU, False), scaled)
