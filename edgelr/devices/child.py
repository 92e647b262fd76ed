"""A child process that can't hang us or fill our memory: its time, its silence and its output are bounded, and it dies with its caller."""
from __future__ import annotations

import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Self

CHUNK_BYTES = 65_536
OUTPUT_BOUND_BYTES = 256_000_000  # more than this from one command is a device that never ends
LINGER_S = 1.0  # how long a pipe is still read after the child's end: a process that it left behind may hold it open for ever


class OutOfBoundsError(Exception):
    """The child took too long, was silent for too long, or wrote too much. The text says which."""


@dataclass
class Kept:
    """The beginning and the end of a stream, whatever its length."""

    limit: int
    tail_limit: int = 4096
    head: bytes = b""
    tail: bytes = b""
    total: int = 0

    def add(self, data: bytes) -> None:
        self.total += len(data)
        self.tail = (self.tail + data)[-self.tail_limit :]
        if (room := self.limit - len(self.head)) > 0:
            self.head += data[:room]


class Child:
    """A process in a session of its own. Leaving the ``with`` block ends it and all of its group.

    ``stdin``: what it reads, then the end of the stream; None holds the stream open until the block is left.
    """

    def __init__(self, argv: Sequence[str], *, stdin: bytes | None, keep_err: int) -> None:
        """Start it. Raises ``OSError`` where the program can't be started."""
        self.err = Kept(keep_err)
        self._process = subprocess.Popen(  # noqa: S603 (a list, no shell; callers quote what goes on to another one)
            list(argv), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
        self._threads = [threading.Thread(target=self._pump, daemon=True)]
        if stdin is not None:
            self._threads.append(threading.Thread(target=self._feed, args=(stdin,), daemon=True))
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.end()

    def chunks(self, seconds: float, silent_seconds: float) -> Iterator[bytes]:
        """Standard output as it comes, to its end. Raises ``OutOfBoundsError``."""
        start = heard = time.monotonic()
        total = 0
        out = _stream(self._process.stdout)
        with selectors.DefaultSelector() as selector:
            selector.register(out, selectors.EVENT_READ)
            while True:
                if selector.select(min(0.25, seconds)):
                    data = os.read(out.fileno(), CHUNK_BYTES)
                    if not data:
                        break
                    total, heard = total + len(data), time.monotonic()
                    yield data
                elif self._process.poll() is not None and time.monotonic() - heard > LINGER_S:
                    break
                now = time.monotonic()
                if total > OUTPUT_BOUND_BYTES:
                    raise OutOfBoundsError(f"it wrote more than {OUTPUT_BOUND_BYTES // 1_000_000} MB.")
                if now - start > seconds:
                    raise OutOfBoundsError(f"it took longer than {seconds:g} s.")
                if now - heard > silent_seconds:
                    raise OutOfBoundsError(f"it was silent for longer than {silent_seconds:g} s.")
        left = max(0.0, min(seconds - (time.monotonic() - start), 10.0))
        try:
            self._process.wait(left)
        except subprocess.TimeoutExpired:
            raise OutOfBoundsError("it closed its output and didn't end.") from None

    def end(self) -> None:
        """Kill what is left of the group and collect it. Safe to call twice."""
        if self._process.returncode is None or self._group_lives():
            self._kill()
        self._process.wait()
        for thread in self._threads:
            thread.join(5.0)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None and not stream.closed:
                try:
                    stream.close()
                except OSError:  # what was not yet written can't be any more
                    pass

    def _group_lives(self) -> bool:
        try:
            os.killpg(self._process.pid, 0)
        except (ProcessLookupError, PermissionError):
            return False
        return True

    def _kill(self) -> None:
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass

    def _pump(self) -> None:
        stream = _stream(self._process.stderr)
        while data := os.read(stream.fileno(), CHUNK_BYTES):
            self.err.add(data)

    def _feed(self, data: bytes) -> None:
        stream = _stream(self._process.stdin)
        try:
            stream.write(data)
            stream.close()
        except (BrokenPipeError, ValueError):  # it ended without reading all
            pass


def _stream(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None  # all three are pipes
    return stream
