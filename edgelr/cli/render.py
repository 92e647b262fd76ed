"""What the commands print: answers on stdout, all else on stderr."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

from edgelr.errors import EdgelrError


def complain(error: EdgelrError, log: str = "") -> None:
    """An error on stderr: what happened, why, what to try, and the file that holds the rest."""
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print("error: ", style="bold red", end="")
    console.print(error.what, markup=False)
    for word, text in (("why", error.why), ("try", error.try_), ("log", log)):
        if text:
            console.print(f"  {word}: ", style="bold", end="")
            console.print(text, markup=False)


def teller(quiet: bool) -> Callable[[str], None]:
    """Prints each step on stderr with the seconds since the start; where quiet, warnings alone."""
    start, console = time.perf_counter(), Console(stderr=True, soft_wrap=True, highlight=False)

    def tell(text: str) -> None:
        warning = text.startswith("warning:")
        if quiet and not warning:
            return
        style = "yellow" if warning else ""
        console.print(f"{time.perf_counter() - start:6.1f} s  ", style="dim", end="")
        console.print(text, style=style, markup=False)

    return tell


def answer(text: str) -> None:
    """A machine's answer, on stdout as it is."""
    sys.stdout.write(text if text.endswith("\n") else text + "\n")


@contextmanager
def stdout_kept() -> Iterator[None]:
    """Within: what libraries print on the process's stdout goes to stderr (HiGHS has a debugging line), so that answers stay clean."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
