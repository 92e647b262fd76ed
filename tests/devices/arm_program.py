"""Programs for aarch64 Linux without a compiler: a static ELF file from instruction words."""
from __future__ import annotations

import struct
from collections.abc import Sequence

DATA = 0x10000000  # a megabyte of zeros, writable
_CODE, _MEGABYTE = 0x400000, 1 << 20

SVC, NOP = 0xD4000001, 0xD503201F


def elf(words: Sequence[int]) -> bytes:
    """The program's file: one segment of code at its start, one of zeros at ``DATA``."""
    code = struct.pack(f"<{len(words)}I", *words)
    start = 64 + 2 * 56
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = ident + struct.pack("<HHIQQQIHHHHHH", 2, 183, 1, _CODE + start, 64, 0, 0, 64, 56, 2, 64, 0, 0)
    text = struct.pack("<IIQQQQQQ", 1, 5, 0, _CODE, _CODE, start + len(code), start + len(code), 0x1000)
    zeros = struct.pack("<IIQQQQQQ", 1, 6, 0, DATA, DATA, 0, _MEGABYTE, 0x1000)
    return header + text + zeros + code


def call(number: int) -> list[int]:
    """mov x8, #number; svc #0."""
    return [0xD2800008 | number << 5, SVC]


def counted(body: Sequence[int]) -> list[int]:
    """getsid; getppid; the body; getppid."""
    return [*call(156), *call(173), *body, *call(173)]


def ended(body: Sequence[int]) -> list[int]:
    """The body; mov x0, #0; exit."""
    return [*body, 0xD2800000, *call(93)]


def repeated(times: int, body: Sequence[int]) -> list[int]:
    """mov x1, #times; the body; subs x1, x1, #1; b.ne back to the body."""
    return [0xD2800001 | times << 5, *body, 0xF1000421, 0x54000001 | (-(len(body) + 1) & 0x7FFFF) << 5]
