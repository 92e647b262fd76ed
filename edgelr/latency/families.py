"""Families of operations that one curve prices: all but their sizes is alike. An operation's place is its sizes."""
from __future__ import annotations

import re
from dataclasses import dataclass
from math import prod

from edgelr.latency.loops import Turns
from edgelr.latency.operation import Operation, Shape
from edgelr.vocabulary import Numbers

_WEIGHTED = ("conv", "conv_transpose")
_POOLS = ("maxpool", "avgpool")
_ROWS = ("softmax", "layer_norm", "instance_norm", "mean", "sum")
_PIXELS = ("concat", "split", "pad", "slice", "resize_nearest", "resize_bilinear", "transpose", "gather")
_RECURRENT = ("lstm", "gru")
# Clamping is part of every kernel that has weights, in XNNPACK and in ONNX Runtime's fused ones; what it costs there: clamps.py.
_FREE = ("none", "relu", "relu6", "relu_n1_to_1", "clip")


@dataclass(frozen=True, order=True)
class Family:
    """What operations priced by one curve have in common. ``detail`` has no sizes: "constantn" is an array as long as the last axis."""

    op: str
    numbers: Numbers
    kernel: tuple[int, int]
    stride: tuple[int, int]
    grouped: bool
    activation: str
    detail: str

    @property
    def sizes(self) -> tuple[str, ...]:
        """The names of a place's coordinates."""
        return _SIZES[_kind(self.op, self.grouped, self.detail)]

    @property
    def channels(self) -> int | None:
        """Which coordinate is the output channels: the one with the kernel's step."""
        return next((i for i, name in enumerate(self.sizes) if name == "output channels"), None)

    @property
    def tiled(self) -> int | None:
        """Which coordinate kernels with weights take in tiles."""
        weighted = self.channels is not None and self.op not in ("depthwise", "maxpool", "avgpool")
        return next((i for i, name in enumerate(self.sizes) if name in ("output pixels", "rows")), None) if weighted else None

    def __str__(self) -> str:
        """In words, for a plot's title: "conv 3x3 stride 2 int8"."""
        area = "x".join(map(str, self.kernel)) if self.kernel != (1, 1) or self.op in _WEIGHTED else ""
        stride = "" if self.stride == (1, 1) else f"stride {'x'.join(map(str, self.stride))}"
        activation = "" if self.activation == "none" else self.activation
        detail = "" if self.detail == "-" else self.detail
        return " ".join(w for w in (self.op, area, stride, "grouped" if self.grouped else "", activation, detail, self.numbers) if w)


_SIZES: dict[str, tuple[str, ...]] = {
    "weights": ("output pixels", "input channels x kernel", "output channels"),
    "grouped": ("output pixels", "input channels x kernel", "output channels", "groups"),
    "depthwise": ("output pixels", "output channels", "kernel"),
    "linear": ("rows", "input channels", "output channels"),
    "matmul": ("matrices", "rows", "inner", "output channels"),
    "pool": ("output pixels", "output channels", "kernel"),
    "rows": ("rows", "row length"),
    "pixels": ("pixels", "channels"),
    "recurrent": ("steps", "input channels", "state"),
    "loop": ("steps", "elements", "state", "multiplications"),
    "elements": ("elements",),
}


def family_of(operation: Operation) -> Family:
    """The family of an operation."""
    kernel, stride = (1, 1), (1, 1)
    if operation.op in (*_WEIGHTED, "depthwise"):
        kernel, stride = operation.kernel, operation.stride
    grouped = operation.groups > 1 and operation.op in _WEIGHTED
    activation = "none" if operation.activation in _FREE else operation.activation
    return Family(operation.op, operation.numbers, kernel, stride, grouped, activation, _detail(operation))


def place_of(operation: Operation) -> tuple[int, ...]:
    """Its sizes, as the family's ``sizes`` names them; each at least 1."""
    kind, out = _kind(operation.op, operation.groups > 1, _detail(operation)), operation.output
    into = max(operation.inputs, key=prod, default=())
    pixels, area = prod(out[:-1]), prod(operation.kernel)
    c_in, c_out = _last(into), _last(out)
    if kind in ("weights", "grouped"):
        g = operation.groups
        place: tuple[int, ...] = (pixels, c_in // g * area, c_out // g) + ((g,) if kind == "grouped" else ())
    elif kind in ("depthwise", "pool"):
        place = (pixels, c_out, area)
    elif kind == "linear":
        place = (pixels, c_in, c_out)
    elif kind == "matmul":
        rows = out[-2] if len(out) > 1 else 1
        place = (prod(out[:-2]), rows, max(prod(into) // max(prod(out[:-2]) * _longest(operation, rows), 1), 1), c_out)
    elif kind == "rows":
        place = (max(prod(into) // max(_reduced(operation, into), 1), 1), _reduced(operation, into))
    elif kind == "pixels":
        big = out if operation.op == "slice" else max(into, out, key=prod)
        place = (prod(big[:-1]), _last(big))
    elif kind == "recurrent":
        place = (prod(into[:-1]), c_in, c_out)
    elif kind == "loop":
        turns = Turns.told(operation.detail)
        steps, multiplied = turns.count * turns.unrolled, sum(map(prod, turns.of_step))
        place = (steps, turns.count * sum(map(prod, operation.inputs)), min((_last(s) for s in operation.inputs), default=1), multiplied)
    else:
        place = (max(prod(into), prod(out)),)
    return tuple(max(n, 1) for n in place)


def work_of(operation: Operation) -> int:
    """Multiplications, or elements where it doesn't multiply: what its time would be proportional to if nothing else mattered."""
    place = place_of(operation)
    return place[0] * place[-1] if operation.op == "loop" else prod(place)


def _kind(op: str, grouped: bool, detail: str) -> str:
    if op in _WEIGHTED:
        return "grouped" if grouped else "weights"
    if detail.endswith("spread"):
        return "pixels"  # what is repeated for each of them: ONNX Runtime multiplies 1600 by 16 channels on integers as long as 100 by 880
    kinds = {"depthwise": "depthwise", "linear": "linear", "matmul": "matmul", "loop": "loop", **dict.fromkeys(_POOLS, "pool"),
             **dict.fromkeys(_ROWS, "rows"), **dict.fromkeys(_PIXELS, "pixels"), **dict.fromkeys(_RECURRENT, "recurrent")}  # fmt: skip
    return kinds.get(op, "elements")


def _last(shape: Shape) -> int:
    return shape[-1] if shape else 1


def _longest(operation: Operation, rows: int) -> int:
    """The side of matmul's larger input that isn't its inner one."""
    a = operation.inputs[0] if operation.inputs else ()
    into = max(operation.inputs, key=prod, default=())
    return rows if into == a else _last(operation.output)


def _reduced(operation: Operation, into: Shape) -> int:
    """How many elements one result is made from: the axes that ``detail`` names, else the last."""
    named = re.fullmatch(r"ax[ie]s([0-9x]+)", operation.detail)
    axes = [int(a) for a in named.group(1).split("x") if a] if named else [len(into) - 1]
    return prod(into[a] for a in axes if 0 <= a < len(into))


def _detail(operation: Operation) -> str:
    detail, out = operation.detail, operation.output
    if detail.startswith("constant"):
        sizes = detail.removeprefix("constant").split("x")
        return "constant" + "".join("1" if s in ("1", "scalar", "") else "n" for s in sizes).lstrip("1").rjust(1, "1")
    if "into" in detail:  # a split's axis and the number of its pieces
        axis, _, sizes_text = detail.partition("into")
        return f"{axis}into{sizes_text.count('x') + 1}"
    if operation.op in ("add", "sub", "mul", "div", "maximum", "minimum") and any(s != out for s in operation.inputs):
        return f"{detail}spread"  # one of the two is repeated along an axis
    if operation.op == "loop":
        widths = sorted(_last(s) for s in operation.inputs) or [1]
        return f"gates{widths[-1] // max(widths[0], 1)}of{len(Turns.told(detail).of_step)}"
    if operation.op == "concat":
        return f"{detail}of{len(operation.inputs)}"
    return detail
