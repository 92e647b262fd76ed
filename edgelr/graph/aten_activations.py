"""ATen's activations."""
from __future__ import annotations

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
