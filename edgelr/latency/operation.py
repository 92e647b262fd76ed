"""One operation of a written file, told by all that decides its time: the key of a latency table."""
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
    ([1, H, W, C], [1, L, C], [1, C]), whatever the file's layout is. ``kernel`` and ``stride`` are [height, width]. ``groups`` is 1 for a
    plain convolution and the number of channels for a depthwise one. ``activation`` is fused: "none", "relu", "relu6". ``detail`` is
    what else makes another kernel of it, in a word ("-" for nothing): "dilation2", "axis1", "pad1111".
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
