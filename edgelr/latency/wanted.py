"""Which operations a table should hold: in general; for one network, with what its layers become at lower rank; and what lies between."""
from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from math import prod, sqrt

from edgelr.latency.clamps import clamps
from edgelr.latency.families import family_of
from edgelr.latency.grid import grid
from edgelr.latency.loops import layer_of
from edgelr.latency.operation import Operation, Shape
from edgelr.latency.reorders import reorders
from edgelr.vocabulary import Format, Numbers

_SHARES = (0.06, 0.125, 0.19, 0.25, 0.375, 0.5, 0.625, 0.75)  # of full rank


def general_operations(format: Format, numbers: Iterable[Numbers], *, blocked: bool) -> tuple[Operation, ...]:
    """What a measured table of no network holds: the grid, and what ONNX Runtime does to floats beside it.

    ``blocked``: with that runtime's float layouts for x86-64.
    """
    each = tuple(numbers)
    found = [o for n in each for o in grid(format, n)]
    if format == "onnx" and "float" in each:
        found += (*(reorders() if blocked else ()), *clamps())
    return tuple(dict.fromkeys(found))


def operations_of_network(operations: Iterable[Operation], step: int, shares: Iterable[float] = _SHARES) -> tuple[Operation, ...]:
    """A network's operations and those that its convolutions and linear layers become at lower ranks, each once.

    Ranks are multiples of the kernels' ``step``, near the ``shares`` of full rank.
    """
    dense = list(dict.fromkeys(operations))
    low = [o for operation in dense for o in at_lower_rank(operation, step, tuple(shares))]
    return tuple(dict.fromkeys([*dense, *low]))


def at_lower_rank(operation: Operation, step: int, shares: tuple[float, ...] = _SHARES) -> Iterator[Operation]:
    """Both halves of an operation at each rank: by channels, and k x 1 before 1 x k for a square kernel."""
    if operation.op == "linear":
        c_in, c_out = operation.inputs[0][-1], operation.output[-1]
        for rank in _ranks(min(c_in, c_out), step, shares):
            yield replace(operation, output=(*operation.output[:-1], rank), activation="none")
            yield replace(operation, inputs=((*operation.inputs[0][:-1], rank),))
    if operation.op == "loop":
        yield from _loops(operation, step, shares)
    if operation.op != "conv" or operation.groups != 1 or operation.detail != "-":
        return
    into, out, (k, m), stride = operation.inputs[0], operation.output, operation.kernel, operation.stride
    for rank in _ranks(min(into[-1] * k * m, out[-1]), step, shares):
        yield replace(operation, output=(*out[:-1], rank), activation="none")
        yield replace(operation, inputs=((*out[:-1], rank),), kernel=(1, 1), stride=(1, 1))
    if min(k, m) < 2 or len(out) != 4:
        return
    width = into[2] if stride[1] == 1 else out[2] * stride[1]  # without the padding of a stride's file
    for rank in _ranks(min(into[-1] * k, out[-1] * m), step, shares):
        between: Shape = (1, out[1], width, rank)
        padded = (1, out[1], into[2], rank)
        first = (1, into[1], width, into[3])
        yield replace(operation, inputs=(first,), output=between, kernel=(k, 1), stride=(stride[0], 1), activation="none")
        yield replace(operation, inputs=(padded,), kernel=(1, m), stride=(1, stride[1]))


def _loops(operation: Operation, step: int, shares: tuple[float, ...]) -> Iterator[Operation]:
    """A dense recurrent layer's loop with factors before all gates; there is none for other loops."""
    try:
        layer = layer_of(operation)
    except ValueError:
        return
    if layer.dense:
        yield from (layer.at_rank(rank).operation() for rank in _ranks(layer.outputs, step, shares))


def between(a: Operation, b: Operation, step: int) -> Operation | None:
    """An operation of the family of both, half way between their sizes; None where there is none but themselves."""
    if family_of(a) != family_of(b) or a.op not in ("conv", "depthwise", "linear") or (a.groups > 1 and a.op == "conv"):
        return None
    (ia, ib), (oa, ob) = (a.inputs[0], b.inputs[0]), (a.output, b.output)
    if len(oa) != len(ob) or len(ia) != len(ib):
        return None
    places = [round(sqrt(x * y)) for x, y in zip(oa[1:-1], ob[1:-1], strict=True)]
    c_in = ia[-1] if ia[-1] == ib[-1] else _on_step(sqrt(ia[-1] * ib[-1]), step)
    c_out = oa[-1] if oa[-1] == ob[-1] else _on_step(sqrt(oa[-1] * ob[-1]), step)
    if a.op == "depthwise":
        c_in = c_out
    pads = [x - s * y for x, s, y in zip(ia[1:-1], a.stride, oa[1:-1], strict=False)]  # as the file of ``a`` has them
    into = [s * y + p for s, y, p in zip(a.stride, places, pads, strict=False)] if a.op != "linear" else places
    made = replace(a, inputs=((1, *into, c_in),), output=(1, *places, c_out), groups=c_out if a.op == "depthwise" else 1, activation="none")
    return None if made in (a, b) or prod(made.output) < 1 else made


def _ranks(full: int, step: int, shares: tuple[float, ...]) -> list[int]:
    return sorted({r for s in shares if 1 <= (r := _on_step(s * full, step)) < full})


def _on_step(size: float, step: int) -> int:
    return max(1, round(size / step)) * step
