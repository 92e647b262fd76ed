"""What every loaded network can do, whichever runtime it runs on."""
from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgelr.errors import BadInputError

Floats = NDArray[np.float32]
Integers = NDArray[np.generic]


class Session(Protocol):
    """A file loaded into a runtime, ready to run. Opened by ``open_session``."""

    @property
    def runtime(self) -> str:
        """The runtime's name: "litert" or "onnxruntime"."""

    @property
    def threads(self) -> int:
        """How many threads the runtime may use."""

    @property
    def integer_output(self) -> bool:
        """Whether the file computes its output as integers, so that ``run_int`` can return them."""

    def run(self, x: NDArray[Any]) -> Floats:
        """Run float32 samples [N, …] (images [N, C, H, W]) and return float32 outputs [N, …]."""

    def run_int(self, x: NDArray[Any]) -> Integers:
        """As ``run``, but return the integers of the output as the file has them (int8 or uint8)."""

    def raw(self, x: NDArray[Any]) -> NDArray[Any]:
        """Samples as ``run`` takes them, in the file's own layout and numbers: what a device is given."""

    def invoke(self) -> None:
        """Run the kernels once, on inputs fixed when the session was opened: the call that is timed."""

    def close(self) -> None:
        """Let go of the runtime. The session can't be used afterwards."""


def checked(x: NDArray[Any], shape: tuple[int | None, ...]) -> Floats:
    """``x`` as contiguous float32, if its shape without the batch is ``shape`` (``None``: any size)."""
    if x.ndim != len(shape) + 1 or any(want is not None and want != got for want, got in zip(shape, x.shape[1:], strict=True)):
        wanted = ", ".join(["N", *("?" if s is None else str(s) for s in shape)])
        raise BadInputError(f"The samples don't fit the file: they are {list(x.shape)}.", f"the file takes [{wanted}].")
    return np.ascontiguousarray(x, dtype=np.float32)
