"""Arrays of an .npz file, read without trust: never unpickled, never larger than declared."""
from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from edgelr.data.split import Array
from edgelr.errors import BadInputError

MAX_UNPACKED_BYTES = 4 << 30  # of all compressed arrays together
MAX_HEADER_BYTES = 10_000  # numpy's own limit
AGAIN = "write it again with numpy.savez(path, x_train=…, y_train=…)"


def read_arrays(path: Path, wanted: tuple[str, ...]) -> tuple[dict[str, Array], tuple[str, ...]]:
    """Those arrays of ``path`` that have a ``wanted`` name, and the names of the others. Uncompressed arrays are mapped, not read.

    Raises BadInputError: damaged, truncated, a name twice, object arrays (pickles), a header that lies, more than MAX_UNPACKED_BYTES.
    """
    try:
        with zipfile.ZipFile(path) as file:
            entries = file.infolist()
            _check_entries(path, entries)
            named = {e.filename.removesuffix(".npy"): e for e in entries}
            chosen = {name: e for name, e in named.items() if name in wanted}
            packed = sum(e.file_size for e in chosen.values() if e.compress_type != zipfile.ZIP_STORED)
            if packed > MAX_UNPACKED_BYTES:
                raise _bad(path, f"it unpacks to {packed:,} bytes; the limit is {MAX_UNPACKED_BYTES:,}",
                           "write it with numpy.savez, uncompressed: then it is mapped, not read")
            return {name: _array(path, file, e) for name, e in chosen.items()}, tuple(n for n in named if n not in chosen)
    except BadInputError:
        raise
    except Exception as error:  # zipfile, numpy and each packer (zlib, lzma, bz2) have errors of their own for damaged bytes
        raise _bad(path, f"it is damaged or truncated: {str(error)[:200] or type(error).__name__}", "copy the file again") from error


def read_array(path: Path) -> Array:
    """One .npy file, mapped. Raises BadInputError as ``read_arrays`` does."""
    try:
        with path.open("rb") as file:
            shape, fortran, dtype, at = _header(path.name, file, path.stat().st_size)
    except (OSError, ValueError, EOFError) as error:
        raise _bad(path, f"it is damaged or truncated: {str(error)[:200]}", "write it again with numpy.save") from error
    return np.memmap(path, dtype, "r", at, shape, "F" if fortran else "C")


def _check_entries(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    names = [e.filename for e in entries]
    twice = next((n for n in names if names.count(n) > 1), None) if len(names) < 1000 else "more than a thousand names"
    if twice:
        raise _bad(path, f"{twice} occurs twice" if len(names) < 1000 else twice)
    odd = next((n for n in names if not n.endswith(".npy")), None)
    if odd:
        raise _bad(path, f"{odd} is not an array")


def _array(path: Path, file: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Array:
    with file.open(entry) as stream:
        shape, fortran, dtype, at = _header(f"{entry.filename} in {path.name}", stream, entry.file_size)
        if entry.compress_type != zipfile.ZIP_STORED:
            count = int(np.prod(shape, dtype=np.int64))
            flat = np.frombuffer(stream.read(count * dtype.itemsize), dtype, count)
            return flat.reshape(shape, order="F" if fortran else "C")
    if 0 in shape:
        return np.zeros(shape, dtype)
    with path.open("rb") as raw:
        raw.seek(entry.header_offset)
        mark, name_bytes, extra_bytes = struct.unpack("<4s22xHH", raw.read(30))
    start = entry.header_offset + 30 + name_bytes + extra_bytes
    if mark != b"PK\x03\x04" or start + entry.file_size > path.stat().st_size:
        raise ValueError(f"{entry.filename} is not where the directory says")
    return np.memmap(path, dtype, "r", start + at, shape, "F" if fortran else "C")


def _header(name: str, stream: Any, size_bytes: int) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Shape, order, dtype, and where the values begin; the three must fill ``size_bytes`` exactly."""
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"{name} has npy version {version}")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(stream, max_header_size=MAX_HEADER_BYTES)
    if dtype.hasobject:
        number = "int64" if name.startswith("y") else "float32"
        raise BadInputError(f"{name} holds Python objects",
                            "numpy stores samples of different shapes so, and text; reading them would run code from the file",
                            f"bring all to one shape and store numbers: numpy.stack(values).astype('{number}')")
    at = stream.tell()
    need = int(np.prod([int(n) for n in shape], dtype=object)) * dtype.itemsize + at if shape else dtype.itemsize + at
    if need != size_bytes:
        raise ValueError(f"{name} declares shape {shape} of {dtype}, {need:,} bytes, and has {size_bytes:,}")
    return shape, fortran, dtype, at


def _bad(path: Path, why: str, try_: str = AGAIN) -> BadInputError:
    return BadInputError(f"{path.name} can't be read", why, try_)
