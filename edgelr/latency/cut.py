"""Every operation of a written file, as a file of its own and as the key of a latency table."""
from __future__ import annotations

from collections.abc import Iterator

from edgelr.latency.single import Cut
from edgelr.vocabulary import Format

__all__ = ["Cut", "cut_operators"]


def cut_operators(data: bytes, format: Format, *, blocked: bool = False) -> Iterator[Cut]:
    """Every operation of a file in order.

    What the runtime merges into one kernel is one operation, what it leaves out is none, and a loop is one with all that turns in it.
    ``blocked``: an ``.onnx`` as ONNX Runtime runs it on x86-64, where its float convolutions want another layout than on Arm
    ("reorder_input", "reorder_output"). Raises BadInputError for bytes that are no such file, UnsupportedError where a loop's turns can't
    be told from the file.
    """
    if format == "tflite":
        from edgelr.latency import litert_cut

        return litert_cut.cut_operators(data, merged=True)
    from edgelr.latency import ort_cut

    return ort_cut.cut_operators(data, blocked=blocked)
