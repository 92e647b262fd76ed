"""One operation of a written file: its name, its key in latency tables, and a file with it alone."""
from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import cached_property

from edgelr.latency.operation import Operation


@dataclass(frozen=True)
class Cut:
    """One operation of a file: ``name`` is that in the file (the PyTorch module's, and a suffix).

    Cuts of one file with equal ``key`` take the same time: their operations are equal, and so is what an ``Operation`` leaves out.
    """

    name: str
    operation: Operation
    key: Hashable
    make: Callable[[], bytes] = field(default=bytes, repr=False, compare=False)

    @cached_property
    def data(self) -> bytes:
        """A file that holds the operation alone; integer tensors in and out where it computes on integers."""
        return self.make()
