"""One operation of a written file, told by all that decides its time: the key of a latency table.

The words of ``op``, the same for both formats; what there is no word for bears the runtime's own name in lower case:

    conv depthwise conv_transpose           weights; kernel, stride, groups; detail "dilation2" (or "dilation2x1"), "-" else
    linear                                  weights; input [1, C], or [1, rows, C] for several rows, whatever the file's shape is
    matmul                                  of two activations; detail "-", or which is transposed first: "turn_a", "turn_b", "turn_ab"
    add sub mul div maximum minimum         of two activations (twice the same one: detail "twice"), or of one and a stored array, whose
                                            shape is the detail: "constant1", "constant1x1x1x64"
    maxpool avgpool                         kernel, stride
    mean sum instance_norm layer_norm       detail: the axes they reduce, in the operation's own shapes: "axes1x2"
    softmax                                 detail "-" over the last axis, else "axis1"
    relu relu6 relu_n1_to_1 clip sigmoid tanh gelu elu leaky_relu hardswish rsqrt exp abs neg
                                            one activation; gelu has the detail "tanh" where it is the approximation
    lut                                     a function of one integer value, read off a table: a .tflite's sigmoid, tanh, x * sigmoid(x)
    concat split reverse                    detail "axis3"; split's sizes too: "axis1into48x16"
    slice pad                               detail "-"; "step2" of a slice, "reflect" or "edge" of a pad
    transpose                               detail "perm0231"
    reshape resize_nearest resize_bilinear  told by their shapes
    quantize dequantize requantize          float to the grid, back, and from one grid to another
    lstm gru                                a whole recurrent layer; input [1, steps, features]
    loop                                    a loop over a recurrent layer's steps, with all that turns in it; inputs are what each turn
                                            takes: whole variables, or states and one row; detail: how often it turns, and the products
                                            of a turn as times, inputs and outputs: "turns16of4x128x512"

``numbers``: "int8" (on integers; quantize and dequantize too), "dynamic" (float in and out, int8 weights), "float". Work on shapes and
places is "float" with the detail "index". What is the same work has the same key: an integer operation's saturation is its activation
("none"), a kernel of length 1 has no dilation, and pads follow from the shapes.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from edgelr.errors import BadInputError
from edgelr.vocabulary import Numbers

Shape = tuple[int, ...]


@dataclass(frozen=True, order=True)
class Operation:
    """``op`` is edgelr's own word for what is computed, the same for both formats: "conv", "depthwise", "linear", "add", "softmax" …

    ``inputs`` are the shapes of the inputs that aren't constants, ``output`` is the first output's; batch first and channels last
    ([1, H, W, C], [1, L, C], [1, C]), whatever the file's layout is; an .onnx doesn't say which tensors of four axes are images, so all
    are taken for such, but for those of matmul, softmax, layer_norm, reshape and transpose, which stay as written. A convolution over
    one axis is [1, 1, L, C] in a .tflite and [1, L, C] in an .onnx, its kernel [1, k] in both. ``kernel`` and ``stride`` are [height,
    width]. ``groups`` is 1 for a plain convolution and the number of channels for a depthwise one. ``activation`` is fused: "none",
    "relu", "relu6", "relu_n1_to_1", "clip". ``detail`` is what else makes another kernel of it, in a word; "-" for nothing.
    """

    op: str
    numbers: Numbers
    inputs: tuple[Shape, ...]
    output: Shape
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    groups: int = 1
    activation: str = "none"
    detail: str = "-"

    def __str__(self) -> str:
        """Nine words, separated by spaces; ``parse`` reads them."""
        inputs = ",".join(_spell(s) for s in self.inputs) or "-"
        shapes = (inputs, _spell(self.output), _spell(self.kernel), _spell(self.stride))
        return " ".join((self.op, self.numbers, *shapes, str(self.groups), self.activation, self.detail))

    @staticmethod
    def parse(text: str) -> Operation:
        """What ``str`` wrote. Raises BadInputError."""
        words = text.split()
        if len(words) != 9:
            raise BadInputError(f"This is no operation: {text[:80]!r}", f"it has {len(words)} words, not 9.")
        op, numbers, inputs, output, kernel, stride, groups, activation, detail = words
        if numbers not in get_args(Numbers):
            raise BadInputError(f"This is no operation: {text[:80]!r}", f"{numbers[:20]!r} is no number format.")
        try:
            shapes = () if inputs == "-" else tuple(_shape(s) for s in inputs.split(","))
            return Operation(op, numbers, shapes, _shape(output), _pair(kernel), _pair(stride), int(groups), activation, detail)  # type: ignore[arg-type]
        except ValueError as error:
            raise BadInputError(f"This is no operation: {text[:80]!r}", "a shape is whole numbers joined by x.") from error


def _spell(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _shape(text: str) -> Shape:
    shape = () if text == "scalar" else tuple(int(n) for n in text.split("x"))
    if any(n < 0 for n in shape):
        raise ValueError(text)
    return shape


def _pair(text: str) -> tuple[int, int]:
    first, second = _shape(text)
    return first, second
