"""A child process that can't hang us or fill our memory: its time, its silence and its output are bounded, and it dies with its caller."""
from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import IO, Self

CHUNK_BYTES = 65_536
OUTPUT_BOUND_BYTES = 256_000_000  # more than this from one command is a device that never ends
LINGER_S = 1.0  # how long a pipe is still read after the child's end: a process that it left behind may hold it open for ever


class OutOfBoundsError(Exception):
    """The child took too long, was silent for too long, or wrote too much. The text says which."""


class Kept:
    """The beginning and the end of a stream, whatever its length."""

    def __init__(self, limit: int, tail_limit: int = 4096) -> None:
        self.total = 0
        self._limit, self._tail_limit = limit, tail_limit
        self._head = bytearray()
        self._tail = b""

    def add(self, data: bytes) -> None:
        self.total += len(data)
        self._tail = (self._tail + data)[-self._tail_limit :]
        self._head += data[: max(0, self._limit - len(self._head))]

    @property
    def head(self) -> bytes:
        return bytes(self._head)

    @property
    def tail(self) -> bytes:
        return self._tail


class Child:
    """A process in a session of its own. Leaving the ``with`` block ends it and all of its group.

    ``stdin``: what it reads, then the end of the stream; None holds the stream open until the block is left.
    """

    def __init__(self, argv: Sequence[str], *, stdin: bytes | None, keep_err: int) -> None:
        """Start it. Raises ``OSError`` where the program can't be started."""
        self.err = Kept(keep_err)
        self._left = memoryview(stdin or b"")
        self._process = subprocess.Popen(  # noqa: S603 (a list, no shell; callers quote what goes on to another one)
            list(argv), bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
        self._in, self._out, self._err = (_pipe(s) for s in (self._process.stdin, self._process.stdout, self._process.stderr))
        os.set_blocking(self._in.fileno(), False)
        if stdin is not None and not stdin:
            self._in.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.end()

    def chunks(self, seconds: float, silent_seconds: float) -> Iterator[bytes]:
        """Standard output as it comes, to its end. Raises ``OutOfBoundsError``."""
        start = heard = time.monotonic()
        total = 0
        with selectors.DefaultSelector() as selector:
            selector.register(self._out, selectors.EVENT_READ)
            selector.register(self._err, selectors.EVENT_READ)
            if self._left:
                selector.register(self._in, selectors.EVENT_WRITE)
            while self._out in selector.get_map() or self._err in selector.get_map():
                events = selector.select(min(0.25, seconds))
                for key, _ in events:
                    if key.fileobj is self._in:
                        self._feed(selector)
                        continue
                    data = os.read(key.fd, CHUNK_BYTES)
                    total, heard = total + len(data), time.monotonic()
                    if not data:
                        selector.unregister(key.fileobj)
                    elif key.fileobj is self._err:
                        self.err.add(data)
                    else:
                        yield data
                now = time.monotonic()
                if not events and self._process.poll() is not None and now - heard > LINGER_S:
                    break
                if total > OUTPUT_BOUND_BYTES:
                    raise OutOfBoundsError(f"it wrote more than {OUTPUT_BOUND_BYTES // 1_000_000} MB.")
                if now - start > seconds:
                    raise OutOfBoundsError(f"it took longer than {seconds:g} s.")
                if now - heard > silent_seconds:
                    raise OutOfBoundsError(f"it was silent for longer than {silent_seconds:g} s.")
        try:
            self._process.wait(max(0.0, min(seconds - (time.monotonic() - start), 10.0)))
        except subprocess.TimeoutExpired:
            raise OutOfBoundsError("it closed its output and didn't end.") from None

    def end(self) -> None:
        """Kill what is left of the group and collect it."""
        with suppress(ProcessLookupError, PermissionError):  # all have ended
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for stream in (self._in, self._out, self._err):
            stream.close()

    def _feed(self, selector: selectors.BaseSelector) -> None:
        try:
            self._left = self._left[os.write(self._in.fileno(), self._left[:CHUNK_BYTES]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:  # it doesn't read the rest
            self._left = self._left[:0]
        if not self._left:
            selector.unregister(self._in)
            self._in.close()


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None  # all three are pipes
    return stream
