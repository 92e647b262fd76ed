"""ATen's pooling, means and upsampling."""
from __future__ import annotations

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
