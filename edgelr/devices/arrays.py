"""Arrays on their way to a device and back: numpy's own file format, never pickled."""
from __future__ import annotations

import hashlib
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelr.errors import DeviceError


def to_npy(value: NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.ascontiguousarray(value), allow_pickle=False)
    return stream.getvalue()


def from_npy(data: bytes, sha256: str) -> NDArray[Any]:
    """The array. Raises ``DeviceError`` if the bytes aren't those that were announced, or no array."""
    if hashlib.sha256(data).hexdigest() != sha256:
        raise DeviceError("A file arrived damaged from the device.", "its SHA-256 is another here.", "try again.")
    try:
        value: NDArray[Any] = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, OSError, EOFError, SyntaxError) as error:
        raise DeviceError("What the device answered can't be read.", "an output is no array of numbers.") from error
    return value
