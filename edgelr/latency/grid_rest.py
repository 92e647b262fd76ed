"""The general grid's operations beside convolutions and linear layers: recurrent ones, products, and what costs by the element."""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from edgelr.latency.loops import Layer
from edgelr.latency.operation import Operation, Shape
from edgelr.vocabulary import Format, Numbers

_LAYERS = ((10, 16, 32), (50, 40, 64), (49, 64, 64), (49, 40, 128), (98, 40, 128), (20, 128, 128), (50, 64, 256), (20, 256, 256))


def recurrent(format: Format, numbers: Numbers) -> Iterator[Operation]:
    ops = {"float": ("lstm", "gru"), "dynamic": ("lstm",), "int8": ()}[numbers]
    for op in ops:
        if op == "gru" and format == "tflite":
            continue  # written as a loop
        for steps, c_in, state in _LAYERS:
            yield Operation(op, numbers, ((1, steps, c_in),), (1, steps, state))


_STATES = (32, 64, 128, 256, 512)
_STEPS = (16, 49, 64, 128)  # a .tflite's loop takes up to five steps a turn, and one where their number is none's multiple
_SHORT = (16, 64)
_MOST_MACS = 80e6


def loops(format: Format, numbers: Numbers) -> Iterator[Operation]:
    """Recurrent layers' loops over their steps, dense and with factors of several ranks."""
    every = _layers(format, numbers) if numbers != "int8" else ()
    yield from (layer.operation() for layer in every if layer.steps * sum(a * b for a, b in layer.products) <= _MOST_MACS)
    if format == "onnx" and numbers == "float":
        for state in _STATES:
            for steps in _SHORT:
                yield Operation("transpose", "float", ((1, steps, 4 * state),), (steps, 1, 4 * state), detail="perm102")


def _layers(format: Format, numbers: Numbers) -> Iterator[Layer]:
    for state in _STATES:
        for steps in _STEPS:
            lstm = Layer(format, numbers, 4, steps, state, state, False, ((state, 4 * state),))
            yield lstm
            if steps not in _SHORT:
                continue
            yield from (lstm.at_rank(rank) for rank in (state // 8, state // 4, state // 2))
            yield lstm.at_rank(state // 8, per_gate=True)
            gru = replace(lstm, gates=3, products=((state, 3 * state),))
            yield from (gru, *(gru.at_rank(rank) for rank in (state // 8, state // 4, state // 2)), gru.at_rank(state // 8, per_gate=True))
            if format == "tflite":  # an .onnx gives out every step in any case
                last = replace(lstm, last=True)
                yield from (last, *(last.at_rank(rank) for rank in (state // 8, state // 4, state // 2)))


_HEADS = ((1, 16, 16), (3, 50, 64), (6, 65, 32), (12, 17, 64), (3, 100, 64),
          (3, 197, 64), (4, 64, 16), (4, 64, 32), (2, 128, 32), (4, 128, 64), (8, 50, 64), (6, 197, 64), (1, 256, 32))


def products(format: Format, numbers: Numbers) -> Iterator[Operation]:
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
def others(format: Format, numbers: Numbers) -> Iterator[Operation]:
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
    for side, c in (*_IMAGES[2:], (28, 16), (56, 24), (112, 16), (7, 960)):
        image = (1, side, side, c)
        yield Operation("mul", numbers, ((1, 1, 1, c), image), image)
    for side, c in _IMAGES[2:]:
        image = (1, side, side, c)
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
