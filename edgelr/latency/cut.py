"""Every operation of a written file, as a file of its own and as the key of a latency table."""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from edgelr.latency.operation import NEAR
from edgelr.latency.single import Cut
from edgelr.vocabulary import Format

__all__ = ["Cut", "cut_operators"]


def cut_operators(data: bytes, format: Format, *, blocked: bool = False) -> Iterator[Cut]:
    """Every operation of a file in order, those of loops' bodies with the number of their turns.

    What the runtime merges into one kernel is one operation, and what it leaves out is none. ``blocked``: an ``.onnx`` as ONNX Runtime
    runs it on x86-64, where its float convolutions want another layout than on Arm ("reorder_input", "reorder_output"). Raises
    BadInputError for bytes that are no such file, UnsupportedError where a loop's turns can't be told from the file.
    """
    for cut in _cuts(data, format, blocked):
        near = cut.times > 1 and cut.operation.op == "linear" and cut.operation.detail == "-"
        yield replace(cut, operation=replace(cut.operation, detail=NEAR)) if near else cut


def _cuts(data: bytes, format: Format, blocked: bool) -> Iterator[Cut]:
    if format == "tflite":
        from edgelr.latency import litert_cut

        return litert_cut.cut_operators(data, merged=True)
    from edgelr.latency import ort_cut

    return ort_cut.cut_operators(data, blocked=blocked)
