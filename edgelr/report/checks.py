"""What a report refuses to hold: numbers that can't be true, and labels that would mislead."""
from __future__ import annotations

import math
import re

from edgelr.errors import EdgelrError
from edgelr.vocabulary import How, Score

_NOT_HARDWARE = re.compile(r"emulat|simulat|qemu", re.IGNORECASE)


def refuse(what: str, why: str) -> EdgelrError:
    return EdgelrError(f"The report was given {what}.", why, "Tell the project: this is a fault in edgelr, not in your call.")


def check_measured(how: How, on: str, what: str) -> None:
    """A number called measured names the device it was measured on, and that device is real."""
    if how != "measured":
        return
    if not on.strip():
        raise refuse(f"a measured {what} without a device", "A measurement holds only for the device it was made on.")
    if _NOT_HARDWARE.search(on):
        raise refuse(f"a {what} on {on} as measured", "What an emulated device gives is simulated, and is never stored as measured.")


def check_finite(value: float | None, what: str, low: float = 0.0, high: float = math.inf) -> None:
    if value is not None and not (math.isfinite(value) and low <= value <= high):
        raise refuse(f"{value} as {what}", f"It must be a finite number between {low:g} and {high:g}.")


def check_score(score: Score | None) -> None:
    if score is not None:
        check_finite(score.value, f"the {score.metric} score", 0.0, 1.0)
