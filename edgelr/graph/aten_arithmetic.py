"""ATen's sums, products and quotients."""
from __future__ import annotations

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
