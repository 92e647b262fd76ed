"""Ctrl-C at any moment ends the program as interrupted."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interruptible(leave: Callable[[], None]) -> Iterator[None]:
    """Within, SIGINT raises KeyboardInterrupt; while a module is being imported it calls ``leave`` and ends the process at once.

    Libraries written in C lose a KeyboardInterrupt that is raised while they are imported, and are left half-imported. Nothing is
    being written at such a moment.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        while frame is not None:
            if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
                sys.stderr = stderr  # it may be turned aside at the moment
                leave()
                os._exit(130)
            frame = frame.f_back
        raise KeyboardInterrupt

    stderr = sys.stderr
    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
