"""How a device is reached: a command is started there, a file is put there. Everything else is built on these two."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

OUTPUT_LIMIT_BYTES = 1_000_000  # what is kept of a command's output: a hostile or broken device can't fill this machine's memory


@dataclass(frozen=True)
class Ran:
    """A finished command: its exit code, and the first megabyte of each stream, as the device sent it."""

    code: int
    out: bytes
    err: bytes


class Transport(Protocol):
    """A way to one device. Opened by ``open_transport``; ``close`` removes what was put on the device.

    Arguments are lists: no transport ever builds a shell line from a name without quoting it. All methods raise ``DeviceError`` where
    the device can't be reached, a link is lost or a time limit passes.
    """

    @property
    def address(self) -> str:
        """How the user named the device: "local", "ssh://pi@192.0.2.7", "adb:SERIAL", "emulated"."""

    @property
    def timed(self) -> bool:
        """Whether times taken there mean anything: not on an emulator."""

    @property
    def folder(self) -> str:
        """A folder on the device that is ours alone for this session; made when first asked for, removed by ``close``."""

    def python(self, modules: Sequence[str]) -> list[str]:
        """The command that starts a Python there that can import ``modules``. Raises DeviceError naming what is missing."""

    def run(self, argv: Sequence[str], *, seconds: float = 60.0, stdin: bytes = b"") -> Ran:
        """Run a command to its end."""

    def lines(self, argv: Sequence[str], *, seconds: float, silent_seconds: float = 120.0) -> Iterator[bytes]:
        """The lines of a command's standard output as they come, each at most 1 MB, until it ends with code 0.

        ``seconds`` bounds the whole command, ``silent_seconds`` the wait for one line. A line is yielded without its end.
        """

    def put(self, data: bytes, name: str) -> str:
        """Write a file ``name`` into ``folder``; its path there. The SHA-256 is compared there; once more if it differs."""

    def get(self, path: str) -> bytes:
        """A file's bytes, at most 64 MB."""

    def close(self) -> None:
        """Remove ``folder`` and end the connection. Never raises."""
