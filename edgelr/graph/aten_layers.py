"""ATen's layers with weights: convolutions, linear layers, normalisations."""
from __future__ import annotations

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
