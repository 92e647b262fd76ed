"""A general grid of operations: dense enough to price ResNet-, MobileNet-, EfficientNet-, VGG-, recurrent and ViT-shaped networks."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import log, prod

from edgelr.graph.ops.recurrent_tflite import CACHED
from edgelr.latency.operation import NEAR, Operation, Shape
from edgelr.vocabulary import Format, Numbers

SIDES = (4, 7, 8, 10, 14, 16, 20, 28, 32, 40, 56, 80, 112)
CHANNELS = (8, 16, 24, 32, 48, 64, 96, 128, 160, 192, 256, 320, 384, 512, 640, 768, 1024, 1280, 2048)
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


def grid(format: Format, numbers: Numbers) -> tuple[Operation, ...]:
    """The operations, light ones first: about 870 on integers, 1,000 in float, 160 to 210 with int8 weights alone ("dynamic").

    Sizes of convolutions and linear layers are scattered by Halton's sequence (J. H. Halton, Numerische Mathematik 2, 1960) over what fits
    (activations up to 1.3 million numbers, weights up to 2.7 million, up to 120 million multiplications), with the corners of that, so
    that few networks' layers lie outside. The same call gives the same operations.
    """
    found = [*_linear(numbers), *_recurrent(format, numbers), *(_loops(format) if numbers == "float" else ())]
    if numbers != "dynamic":
        found += [*_convolutions(format, numbers), *_depthwise(format, numbers), *_matmul(format, numbers), *_others(format, numbers)]
    elif format == "tflite":
        found += [o for o in _convolutions(format, numbers) if o.kernel in ((1, 1), (3, 3)) and o.stride == (1, 1)][::4]
    found = [o for o in found if (format, o.numbers, o.op) not in _UNWRITTEN]
    return tuple(sorted(dict.fromkeys(found), key=lambda o: (macs(o), o)))


def macs(operation: Operation) -> int:
    """Multiplications of a weighted operation or a product; elements of another one."""
    from edgelr.latency.families import work_of

    return work_of(operation)


def convolution(
    format: Format, numbers: Numbers, kernel: tuple[int, int], stride: tuple[int, int], side: int, c_in: int, c_out: int, groups: int = 1
) -> Operation:
    """A convolution with an output of ``side`` x ``side``, its input as the format's writer has it (.tflite pads before a stride)."""
    padded = format == "tflite"
    into = tuple(side * s + (k - s + 1 if padded and k > s > 1 else 0) for k, s in zip(kernel, stride, strict=True))
    op = "depthwise" if groups > 1 else "conv"
    return Operation(op, numbers, ((1, *into, c_in),), (1, side, side, c_out), kernel, stride, groups)


def _convolutions(format: Format, numbers: Numbers) -> Iterator[Operation]:
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


def _depthwise(format: Format, numbers: Numbers) -> Iterator[Operation]:
    for k, s, count in ((3, 1, 26), (3, 2, 20), (5, 1, 20), (5, 2, 16)):

        def fits(side: int, c: int, _: int, s: int = s) -> bool:
            return side * side * c * s * s <= _MOST_ELEMENTS

        def cost(side: int, c: int, _: int, k: int = k) -> float:
            return side * side * c * k * k

        for side, c, _ in _scattered((SIDES, CHANNELS, (1,)), count, fits, cost):
            yield convolution(format, numbers, (k, k), (s, s), side, c, c, c)


def _linear(numbers: Numbers) -> Iterator[Operation]:
    wide = (*CHANNELS, 3072, 4096)

    def fits(rows: int, c_in: int, c_out: int) -> bool:
        return rows * max(c_in, c_out) <= _MOST_ELEMENTS and c_in * c_out <= 4.3e6 and rows * c_in * c_out <= 60e6

    for rows, count in (((1,), 30), (ROWS, 36)):
        for m, c_in, c_out in _scattered((rows, wide, wide), count, fits, lambda *sizes: prod(sizes)):
            yield linear(numbers, m, c_in, c_out)
    for c_out in (*STAIRS, 10, 100, 1000):
        yield linear(numbers, 1, 256, c_out)
    for state in (*_STATES, 96, 192) if numbers != "int8" else ():  # a recurrent layer's gates, whole and at ranks of a quarter and a half
        halves = [half for rank in (state // 4, state // 2) for half in ((state, rank), (rank, 4 * state))]
        for c_in, c_out in ((state, 3 * state), (state, 4 * state), *halves):
            yield replace(linear(numbers, 1, c_in, c_out), detail=NEAR)
    for m, c_in, c_out in ((197, 192, 576), (197, 192, 192), (197, 192, 768), (197, 768, 192), (64, 64, 256), (1, 1280, 1000)):
        yield linear(numbers, m, c_in, c_out)


def linear(numbers: Numbers, rows: int, c_in: int, c_out: int) -> Operation:
    """A linear layer on one row or several."""
    into, out = ((1, c_in), (1, c_out)) if rows == 1 else ((1, rows, c_in), (1, rows, c_out))
    return Operation("linear", numbers, (into,), out)


_LAYERS = ((10, 16, 32), (50, 40, 64), (49, 64, 64), (49, 40, 128), (98, 40, 128), (20, 128, 128), (50, 64, 256), (20, 256, 256))


def _recurrent(format: Format, numbers: Numbers) -> Iterator[Operation]:
    ops = {"float": ("lstm", "gru"), "dynamic": ("lstm",), "int8": ()}[numbers]
    for op in ops:
        if op == "gru" and format == "tflite":
            continue  # written as a loop
        for steps, c_in, state in _LAYERS:
            yield Operation(op, numbers, ((1, steps, c_in),), (1, steps, state))


_STATES = (32, 64, 128, 256, 512)
_STEPS, _UNROLLED = (16, 64, 128), 4  # a .tflite's loop takes four steps a turn, and one where its matrices are float and large


def _loops(format: Format) -> Iterator[Operation]:
    """What a recurrent layer's loop is beside its products: turns, and gates parted in them."""
    for state in _STATES:
        row, gates = (1, state), (1, 4 * state)
        yield Operation("split", "float", (gates,), (1, 3 * state), detail=f"axis1into{3 * state}x{state}")
        yield Operation("split", "float", ((1, 3 * state),), row, detail=f"axis1into{state}x{state}x{state}")
        if format == "tflite":
            yield Operation("split", "float", ((_UNROLLED, 4 * state),), gates, detail="axis0into" + "x".join("1" * _UNROLLED))
        for steps in _STEPS:
            if format == "onnx":
                yield Operation("loop", "float", (row, row, gates), row, detail=f"turns{steps}")
                yield Operation("transpose", "float", ((1, steps, 4 * state),), (steps, 1, 4 * state), detail="perm102")
                continue
            whole, every = (steps, 4 * state), (steps, state)
            for turns in (steps // _UNROLLED, steps) if 16 * state * state > CACHED else (steps // _UNROLLED,):
                yield Operation("loop", "float", (whole, every, row, row), (1,), detail=f"turns{turns}")  # the output of every step
                yield Operation("loop", "float", (whole, row, row), (1,), detail=f"turns{turns}")  # of the last one


_HEADS = ((1, 16, 16), (3, 50, 64), (6, 65, 32), (12, 17, 64), (3, 100, 64),
          (3, 197, 64), (4, 64, 16), (4, 64, 32), (2, 128, 32), (4, 128, 64), (8, 50, 64), (6, 197, 64), (1, 256, 32))


def _matmul(format: Format, numbers: Numbers) -> Iterator[Operation]:
    for heads, tokens, d in _HEADS:
        q, attention = (1, heads, tokens, d), (1, heads, tokens, tokens)
        if format == "tflite" or numbers == "float":
            yield Operation("matmul", numbers, (q, q), attention, detail="turn_b")
        if format == "onnx":
            yield Operation("matmul", numbers, (q, (1, heads, d, tokens)), attention)
        yield Operation("matmul", numbers, (attention, q), q)
        yield Operation("softmax", numbers, (attention,), attention)


# Images as side and channels, for what costs by the element; sequences as rows and channels.
_IMAGES = ((1, 16), (1, 256), (4, 64), (7, 160), (14, 96), (28, 64), (28, 192), (56, 144), (112, 96))
_SEQUENCES = ((16, 32), (49, 64), (64, 64), (64, 256), (128, 128), (197, 192), (197, 768))
_UNARY = {"int8": ("sigmoid", "lut", "requantize", "quantize", "dequantize"),
          "float": ("sigmoid", "tanh", "relu", "relu6", "clip")}  # fmt: skip
_STORED = {"int8": ("add constant1", "mul constant1"),
           "float": ("add constant1", "mul constant1", "maximum constant1", "minimum constant1")}  # fmt: skip
# What a format's files don't have: its writer spells it otherwise, or keeps it in float.
_UNWRITTEN = (("tflite", "float", "clip"), ("tflite", "int8", "sigmoid"), ("onnx", "int8", "lut"), ("onnx", "int8", "resize_bilinear"),
              ("onnx", "float", "maximum"), ("onnx", "float", "minimum"))  # fmt: skip


def _others(format: Format, numbers: Numbers) -> Iterator[Operation]:
    assert numbers != "dynamic"
    for side, c in _IMAGES:
        image = (1, side, side, c) if side > 1 else (1, c)
        for op in ("add", "mul"):
            yield Operation(op, numbers, (image, image), image)
        for op in _UNARY[numbers]:
            yield Operation(op, numbers, (image,), image)
        for op, _, detail in (text.partition(" ") for text in _STORED[numbers]):
            yield Operation(op, numbers, (image,), image, detail=detail)
    if format == "onnx" and numbers == "int8":
        for side in (32, 96, 128, 224):
            yield Operation("transpose", "int8", ((1, 3, side, side),), (1, side, side, 3), detail="perm0231")
    for side, c in _IMAGES[2:]:
        image = (1, side, side, c)
        yield Operation("mul", numbers, ((1, 1, 1, c), image), image)
        yield Operation("mean", numbers, (image,), (1, 1, 1, c), detail="axes1x2")
        yield Operation("reshape", numbers, (image,), (1, side * side, c))
        if side % 2 == 0:
            half: Shape = (1, side // 2, side // 2, c)
            yield Operation("maxpool", numbers, (image,), half, (2, 2), (2, 2))
            yield Operation("depthwise", numbers, (image,), half, (2, 2), (2, 2), groups=c)  # as means are written
            for op in ("resize_nearest", "resize_bilinear"):
                yield Operation(op, numbers, (half,), image)
            into = (1, side + 2, side + 2, c) if format == "tflite" else image
            yield Operation("maxpool", numbers, (into,), half, (3, 3), (2, 2))
        yield Operation("concat", numbers, ((1, side, side, c // 2), (1, side, side, c // 2)), image, detail="axis3")
        if format == "tflite":
            yield Operation("pad", numbers, (image,), (1, side + 2, side + 2, c))
        elif numbers == "int8":  # between the file's layout and the one that ONNX Runtime's int8 kernels have
            yield Operation("transpose", numbers, ((1, c, side, side),), image, detail="perm0231")
            yield Operation("transpose", numbers, (image,), (1, c, side, side), detail="perm0312")
    for rows, c in _SEQUENCES:
        yield from _of_sequence(format, numbers, (1, rows, c))


def _of_sequence(format: Format, numbers: Numbers, whole: Shape) -> Iterator[Operation]:
    """What a transformer does to its tokens beside products: normalisation, places, heads."""
    _, rows, c = whole
    column, heads = (1, rows, 1), 4
    yield Operation("gelu", numbers if format == "tflite" else "float", (whole,), whole)
    yield Operation("add", numbers, (whole,), whole, detail=f"constant1x{rows}x{c}")
    yield Operation("transpose", numbers, ((1, rows, heads, c // heads),), (1, heads, rows, c // heads), detail="perm0213")
    yield Operation("slice", numbers, ((1, rows, 3, c),), (1, rows, 1, c))
    if numbers == "float" and format == "onnx":
        yield Operation("identity", numbers, (whole,), whole)  # keeps a value in float between operations on integers
        yield Operation("biasgelu", numbers, (whole,), whole)
        yield Operation("pad", numbers, (whole,), (1, rows + 1, c))
        yield Operation("add", numbers, (whole,), whole, detail=f"constant1x1x{c}")
        yield Operation("layer_norm", numbers, (whole,), whole, detail="axes2")
    if numbers == "float" and format == "tflite":
        yield Operation("mean", numbers, (whole,), column, detail="axes2")
        yield Operation("rsqrt", numbers, (column,), column)
        yield Operation("sub", numbers, (whole, column), whole)
        yield Operation("mul", numbers, (whole, column), whole)
        yield Operation("mul", numbers, (whole,), whole, detail="twice")
        for op in ("add", "mul"):
            yield Operation(op, numbers, (whole,), whole, detail=f"constant1x1x{c}")
    if format == "onnx":
        yield Operation("transpose", numbers, (whole,), (1, c, rows), detail="perm021")


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
