"""A general grid of operations: dense enough to price ResNet-, MobileNet-, EfficientNet-, VGG-, recurrent- and ViT-shaped networks."""
from __future__ import annotations

from edgelr.latency.families import work_of
from edgelr.latency.grid_rest import loops, others, products, recurrent
from edgelr.latency.grid_weighted import convolutions, depthwise, linears
from edgelr.latency.operation import Operation
from edgelr.vocabulary import Format, Numbers

# What a format's files don't have: its writer spells it otherwise, or keeps it in float.
_UNWRITTEN = (("tflite", "float", "clip"), ("tflite", "int8", "sigmoid"), ("onnx", "int8", "lut"), ("onnx", "int8", "resize_bilinear"),
              ("onnx", "float", "maximum"), ("onnx", "float", "minimum"))  # fmt: skip


def grid(format: Format, numbers: Numbers) -> tuple[Operation, ...]:
    """The operations, light ones first: about 870 on integers, 1,000 in float, 160 to 210 with int8 weights alone ("dynamic").

    Sizes of convolutions and linear layers are scattered by Halton's sequence (J. H. Halton, Numerische Mathematik 2, 1960) over what fits
    (activations up to 1.3 million numbers, weights up to 2.7 million, up to 120 million multiplications), with the corners of that, so
    that few networks' layers lie outside. The same call gives the same operations.
    """
    found = [*linears(numbers), *recurrent(format, numbers), *loops(format, numbers)]
    if numbers != "dynamic":
        found += [*convolutions(format, numbers), *depthwise(format, numbers), *products(format, numbers), *others(format, numbers)]
    elif format == "tflite":
        found += [o for o in convolutions(format, numbers) if o.kernel in ((1, 1), (3, 3)) and o.stride == (1, 1)][::4]
    found = [o for o in found if (format, o.numbers, o.op) not in _UNWRITTEN]
    return tuple(sorted(dict.fromkeys(found), key=lambda o: (work_of(o), o)))
