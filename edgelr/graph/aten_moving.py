"""ATen's operations that move values: reshapes, permutations, parts, joins; and those that do nothing."""
from __future__ import annotations

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


@rule("dropout.default", "dropout_.default", "feature_dropout.default", "clone.default", "contiguous.default", "detach.default",
      "alias.default", "lift_fresh_copy.default")
def same(s: Site, x: Any, *_: Any, **__: Any) -> Any:
    return x


@rule("to.dtype", "_to_copy.default")
def cast(s: Site, x: str, dtype: torch.dtype = torch.float32, *_: Any, **__: Any) -> str:
    if dtype != torch.float32:
        raise NotSupportedError(f"a cast to {dtype}: all values are float32 before they are integers")
    return x
