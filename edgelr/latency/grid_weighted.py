"""The general grid's operations with weights: scattered over what fits, with the sizes that networks really have."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import log, prod

from edgelr.latency.operation import Operation
from edgelr.vocabulary import Format, Numbers

SIDES = (4, 7, 8, 10, 14, 16, 20, 28, 32, 40, 56, 80, 112)
CHANNELS = (8, 16, 24, 32, 48, 64, 96, 128, 160, 192, 256, 320, 384, 512, 640, 768, 1024, 1280, 2048)
_ODD_CHANNELS, _ODD_SIDES = (40, 72, 120, 200), (10, 28)  # depthwise ones off a step of 16, as MobileNetV3 and EfficientNet have
ROWS = (4, 10, 16, 32, 49, 64, 100, 128, 197, 256, 400)
STAIRS = (8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 96, 112, 128)  # output channels that show a kernel's step
_FEW_MACS, _EVERY = 10e6, 4  # of the operations above so many multiplications, one in four is taken: they cost the most to measure
_MOST_ELEMENTS, _MOST_WEIGHTS = 1.3e6, 2.7e6  # MobileNetV2's widest activation at 224 pixels; ResNet-18's largest kernel
_HALTON = (2, 3, 5)


@dataclass(frozen=True)
class _Form:
    """A family of convolutions: ``count`` operations scattered in it, of at most ``macs``, and the corners of what is possible."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    count: int
    macs: float
    into: tuple[int, ...] = CHANNELS
    sides: tuple[int, ...] = SIDES
    stairs: tuple[int, int] = (0, 0)  # side and input channels


_FORMS = (
    _Form((3, 3), (1, 1), 60, 120e6, stairs=(28, 64)),
    _Form((1, 1), (1, 1), 60, 120e6, sides=(1, *SIDES), stairs=(14, 128)),
    _Form((3, 1), (1, 1), 30, 40e6),
    _Form((1, 3), (1, 1), 30, 40e6),
    _Form((3, 3), (2, 2), 24, 60e6, into=(3, *CHANNELS)),
    _Form((1, 1), (2, 2), 16, 20e6),
    _Form((3, 1), (2, 1), 12, 20e6),
    _Form((1, 3), (1, 2), 12, 20e6),
    _Form((5, 5), (1, 1), 12, 30e6),
)
# What only a network's first layer is: side of the output, input channels, output channels.
_STEMS: tuple[tuple[tuple[int, int], tuple[int, int], tuple[tuple[int, int, int], ...]], ...] = (
    ((7, 7), (2, 2), ((112, 3, 64), (112, 3, 16), (56, 3, 32), (48, 3, 64))),
    ((7, 1), (2, 1), ((112, 3, 8), (112, 3, 16), (56, 3, 8))),
    ((1, 7), (1, 2), ((112, 8, 64), (112, 16, 64), (56, 8, 32))),
    ((3, 3), (2, 2), ((112, 3, 8), (112, 3, 16), (112, 3, 32), (80, 3, 24), (48, 3, 16), (48, 1, 16))),
    ((3, 3), (1, 1), ((32, 3, 16), (32, 3, 64), (28, 1, 32), (112, 3, 16))),
    ((16, 16), (16, 16), ((14, 3, 192), (14, 3, 384), (8, 3, 64))),
    ((4, 4), (4, 4), ((56, 3, 48), (8, 3, 64), (8, 3, 128))),
)
# The layers that networks really have, where the scattered ones are thin.
_ANCHORS: tuple[tuple[tuple[int, int], tuple[tuple[int, int, int], ...]], ...] = (
    ((3, 3), ((4, 512, 512), (4, 256, 512), (2, 512, 512), (2, 512, 256), (2, 512, 128), (56, 64, 64),
               (28, 128, 128), (14, 256, 256), (7, 512, 512), (32, 16, 16), (16, 32, 32), (8, 64, 64), (56, 64, 16))),
    ((1, 1), ((112, 32, 16), (112, 16, 96), (56, 24, 144), (28, 192, 32), (14, 384, 64), (14, 96, 576), (7, 960, 160), (7, 320, 1280),
              (14, 512, 512), (7, 1024, 1024), (56, 64, 256), (14, 1024, 256), (1, 1280, 1024), (1, 240, 64))),
)  # fmt: skip


def convolution(
    format: Format, numbers: Numbers, kernel: tuple[int, int], stride: tuple[int, int], side: int, c_in: int, c_out: int, groups: int = 1
) -> Operation:
    """A convolution with an output of ``side`` x ``side``, its input as the format's writer has it (.tflite pads before a stride)."""
    padded = format == "tflite"
    into = tuple(side * s + (k - s + 1 if padded and k > s > 1 else 0) for k, s in zip(kernel, stride, strict=True))
    op = "depthwise" if groups > 1 else "conv"
    return Operation(op, numbers, ((1, *into, c_in),), (1, side, side, c_out), kernel, stride, groups)


def convolutions(format: Format, numbers: Numbers) -> Iterator[Operation]:
    for form in _FORMS:
        area, strides = prod(form.kernel), prod(form.stride)
        levels = (form.sides, form.into, CHANNELS)

        def fits(side: int, c_in: int, c_out: int, form: _Form = form, area: int = area, strides: int = strides) -> bool:
            big = side * side * max(c_in * strides, c_out) <= _MOST_ELEMENTS and area * c_in * c_out <= _MOST_WEIGHTS
            return big and side * side * area * c_in * c_out <= form.macs

        def cost(side: int, c_in: int, c_out: int, area: int = area) -> float:
            return side * side * area * c_in * c_out

        places = _scattered(levels, form.count, fits, cost)
        if form.stairs != (0, 0):
            places += [(*form.stairs, c) for c in STAIRS]
        for place in places:
            yield convolution(format, numbers, form.kernel, form.stride, *place)
    for kernel, stride, stems in _STEMS:
        for place in stems:
            yield convolution(format, numbers, kernel, stride, *place)
    for kernel, anchors in _ANCHORS:
        for place in anchors:
            yield convolution(format, numbers, kernel, (1, 1), *place)


def depthwise(format: Format, numbers: Numbers) -> Iterator[Operation]:
    for k, s, count in ((3, 1, 26), (3, 2, 20), (5, 1, 20), (5, 2, 16)):

        def fits(side: int, c: int, _: int, s: int = s) -> bool:
            return side * side * c * s * s <= _MOST_ELEMENTS

        def cost(side: int, c: int, _: int, k: int = k) -> float:
            return side * side * c * k * k

        odd = [(side, c, c) for side, c in product(_ODD_SIDES, _ODD_CHANNELS) if fits(side, c, c)]
        for side, c, _ in (*_scattered((SIDES, CHANNELS, (1,)), count, fits, cost), *odd):
            yield convolution(format, numbers, (k, k), (s, s), side, c, c, c)


def linears(numbers: Numbers) -> Iterator[Operation]:
    wide = (*CHANNELS, 3072, 4096)

    def fits(rows: int, c_in: int, c_out: int) -> bool:
        return rows * max(c_in, c_out) <= _MOST_ELEMENTS and c_in * c_out <= 4.3e6 and rows * c_in * c_out <= 60e6

    for rows, count in (((1,), 30), (ROWS, 36)):
        for m, c_in, c_out in _scattered((rows, wide, wide), count, fits, lambda *sizes: prod(sizes)):
            yield linear(numbers, m, c_in, c_out)
    for c_out in (*STAIRS, 10, 100, 1000):
        yield linear(numbers, 1, 256, c_out)
    for m, c_in, c_out in ((197, 192, 576), (197, 192, 192), (197, 192, 768), (197, 768, 192), (64, 64, 256), (1, 1280, 1000)):
        yield linear(numbers, m, c_in, c_out)


def linear(numbers: Numbers, rows: int, c_in: int, c_out: int) -> Operation:
    """A linear layer on one row or several."""
    into, out = ((1, c_in), (1, c_out)) if rows == 1 else ((1, rows, c_in), (1, rows, c_out))
    return Operation("linear", numbers, (into,), out)


def _scattered(levels: Sequence[Sequence[int]], count: int, fits: object, cost: object) -> list[tuple[int, ...]]:
    """``count`` places of the levels by Halton's sequence, and those that lie furthest out in each direction."""
    assert callable(fits) and callable(cost)
    every = [p for p in product(*levels) if fits(*p)]
    logs = {p: tuple(log(x) for x in p) for p in every}
    directions = [d for d in product((-1, 0, 1), repeat=len(levels)) if any(d)]
    corners = [max(every, key=lambda p: (sum(a * b for a, b in zip(d, logs[p], strict=True)), p)) for d in directions]
    found = dict.fromkeys(corners)
    heavy, i, wanted = 0, 0, len(found) + count
    while len(found) < wanted and i < 100 * count:
        i += 1
        place = tuple(level[int(_radical_inverse(i, base) * len(level))] for level, base in zip(levels, _HALTON, strict=True))
        if not fits(*place) or place in found:
            continue
        if cost(*place) > _FEW_MACS:
            heavy += 1
            if heavy % _EVERY:
                continue
        found[place] = None
    return list(found)


def _radical_inverse(i: int, base: int) -> float:
    value, share = 0.0, 1.0
    while i:
        share /= base
        value += share * (i % base)
        i //= base
    return value
