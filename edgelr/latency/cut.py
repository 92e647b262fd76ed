"""Every operation of a written file, as a file of its own and as the key of a latency table."""
from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from edgelr.latency.operation import Operation
from edgelr.vocabulary import Format


@dataclass(frozen=True)
class Cut:
    """One operation of a file: ``name`` is that in the file (the PyTorch module's, and a suffix), ``times`` how often it runs in a call.

    Cuts of one file with equal ``key`` take the same time: their operations are equal, and so is what an ``Operation`` leaves out.
    """

    name: str
    operation: Operation
    key: Hashable
    times: int = 1
    make: Callable[[], bytes] = field(default=bytes, repr=False, compare=False)

    @cached_property
    def data(self) -> bytes:
        """A file that holds the operation alone; integer tensors in and out where it computes on integers."""
        return self.make()


def cut_operators(data: bytes, format: Format, *, blocked: bool = False) -> Iterator[Cut]:
    """Every operation of a file in order, those of loops' bodies with the number of their turns.

    What the runtime merges into one kernel is one operation, and what it leaves out is none. ``blocked``: an ``.onnx`` as ONNX Runtime
    runs it on x86-64, where its float convolutions want another layout than on Arm ("reorder_input", "reorder_output"). Raises
    BadInputError for bytes that are no such file, UnsupportedError where a loop's turns can't be told from the file.
    """
    if format == "tflite":
        from edgelr.latency import litert_cut

        yield from litert_cut.cut_operators(data, merged=True)
    else:
        from edgelr.latency import ort_cut

        yield from ort_cut.cut_operators(data, blocked=blocked)
