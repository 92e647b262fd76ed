"""The header of a .safetensors file, checked rule by rule before any tensor is read.

The format (huggingface/safetensors, README "Format"): 8 bytes little-endian header length, that many bytes of JSON naming each tensor's
dtype, shape and byte range, then the bytes, without holes or overlaps. Header cap 100 MB as there; the tensor cap is ours.
"""
from __future__ import annotations

import json
from math import prod
from pathlib import Path
from typing import Any

from edgelr.errors import BadInputError

MAX_HEADER_BYTES = 100_000_000
MAX_TENSORS = 100_000  # the largest networks for such devices have thousands
ITEM_BITS = {"F64": 64, "F32": 32, "F16": 16, "BF16": 16, "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U64": 64, "U32": 32, "U16": 16,
             "U8": 8, "BOOL": 8}
AGAIN = "export the weights again with safetensors.torch.save_file"


def check_header(path: Path) -> None:
    """Raise BadInputError for the first rule of the format that ``path`` breaks."""
    size_bytes = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        if len(start) < 8:
            raise _bad(path, f"the file has {len(start)} bytes and ends before its header", "copy the file again: it is truncated")
        header_bytes = int.from_bytes(start, "little")
        if header_bytes > MAX_HEADER_BYTES:
            raise _bad(path, f"the header claims {header_bytes:,} bytes; the limit is {MAX_HEADER_BYTES:,}")
        if 8 + header_bytes > size_bytes:
            raise _bad(path, f"the header claims {header_bytes:,} bytes and the file has only {size_bytes - 8:,} left: it is truncated",
                       "copy the file again")
        raw = file.read(header_bytes)
    _check_ranges(path, _parse(path, raw), size_bytes - 8 - header_bytes)


def _parse(path: Path, raw: bytes) -> dict[str, Any]:
    if raw.count(b'"data_offsets"') > MAX_TENSORS:
        raise _bad(path, f"it names more than {MAX_TENSORS:,} tensors")
    if not raw.startswith(b"{"):
        raise _bad(path, "the header doesn't begin with {: this is no safetensors file")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise _bad(path, f"the header names {twice!r} twice")
        return found

    try:
        header = json.loads(raw.decode("utf-8"), object_pairs_hook=unique)
    except UnicodeDecodeError as error:
        raise _bad(path, f"the header is not UTF-8 (byte {error.start})") from error
    except (ValueError, RecursionError) as error:
        raise _bad(path, f"the header is not JSON: {str(error)[:200]}") from error
    header.pop("__metadata__", None)
    return dict(header)


def _check_ranges(path: Path, header: dict[str, Any], data_bytes: int) -> None:
    spans = []
    for name, entry in header.items():
        begin, end, need_bits = _entry(path, name, entry)
        if (end - begin) * 8 != need_bits:
            raise _bad(path, f"{name}: dtype {entry['dtype']} and shape {entry['shape']} need {need_bits // 8:,} bytes, "
                             f"the header gives {end - begin:,}")
        spans.append((begin, end, name))
    at = 0
    for begin, end, name in sorted(spans):
        if begin != at:
            how = "overlap" if begin < at else "leave a hole"
            raise _bad(path, f"tensors {how}: {name} begins at byte {begin:,} where {at:,} is expected")
        at = end
    if at > data_bytes:
        raise _bad(path, f"the tensors need {at:,} bytes and the file has {data_bytes:,}: it is truncated", "copy the file again")
    if at < data_bytes:
        raise _bad(path, f"{data_bytes - at:,} bytes after the last tensor belong to nothing")


def _entry(path: Path, name: str, entry: Any) -> tuple[int, int, int]:
    """Begin and end (bytes), and the bits that dtype and shape need."""
    if not isinstance(entry, dict) or not {"dtype", "shape", "data_offsets"} <= entry.keys():
        raise _bad(path, f"{name}: the header lacks its dtype, shape or data_offsets")
    shape, offsets, dtype = entry["shape"], entry["data_offsets"], entry["dtype"]
    if not isinstance(dtype, str) or dtype not in ITEM_BITS:
        raise _bad(path, f"{name}: dtype {dtype!r} is not one that a float32 network can take", "convert it to float32 first")
    if not _naturals(shape) or not _naturals(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise _bad(path, f"{name}: shape {shape} or data_offsets {offsets} make no sense")
    return offsets[0], offsets[1], ITEM_BITS[dtype] * prod(shape)


def _naturals(values: Any) -> bool:
    return isinstance(values, list) and all(type(v) is int and v >= 0 for v in values)


def _bad(path: Path, why: str, try_: str = AGAIN) -> BadInputError:
    return BadInputError(f"{path.name} is not a good safetensors file", why, try_)
