"""One error tree. Every error says what happened, why, and what to try, and carries the exit code of the contract."""
from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of the command line (contract)."""

    OK = 0
    FAULT = 1
    USAGE = 2
    BAD_INPUT = 3
    BUDGET = 4
    GATE = 5
    DEVICE = 6
    UNTRUSTED_MEASUREMENT = 7
    INTERRUPTED = 130


class EdgelrError(Exception):
    """Root of all errors that edgelr raises on purpose.

    ``what`` happened, ``why``, and what to ``try_``: each one sentence in the user's terms. ``detail`` is for the log, never for the
    terminal: all that a library said.
    """

    exit_code: Exit = Exit.FAULT

    def __init__(self, what: str, why: str = "", try_: str = "", *, detail: str = "") -> None:
        self.what, self.why, self.try_, self.detail = what, why, try_, detail
        super().__init__(what)

    def __str__(self) -> str:
        return "\n".join(s for s in (self.what, self.why and f"why: {self.why}", self.try_ and f"try: {self.try_}") if s)


class UsageError(EdgelrError):
    """The call itself is off: an unknown target, an unreadable budget, an output that exists."""

    exit_code = Exit.USAGE


class BadInputError(EdgelrError):
    """A file or network that was given can't be used: missing, malformed, unsafe, NaN, mis-shaped."""

    exit_code = Exit.BAD_INPUT


class UnsupportedError(BadInputError):
    """The network has an operation that can't be captured or written. Names the module and the operation."""


class BudgetError(EdgelrError):
    """The budget can't be met. ``least`` holds, for each budgeted cost, the least that can."""

    exit_code = Exit.BUDGET

    def __init__(self, what: str, why: str = "", try_: str = "", least: dict[str, float] | None = None) -> None:
        super().__init__(what, why, try_)
        self.least = least or {}


class GateError(EdgelrError):
    """A result failed a gate: a written file disagrees with its reference, or is slower than the dense network."""

    exit_code = Exit.GATE


class MeasurementError(EdgelrError):
    """A measurement is not to be trusted (drifting, throttled)."""

    exit_code = Exit.UNTRUSTED_MEASUREMENT


class DeviceError(EdgelrError):
    """A device can't be reached, its host key is unknown, or its link was lost."""

    exit_code = Exit.DEVICE


class InterruptedRunError(EdgelrError):
    """The user interrupted a run that can be taken up again."""

    exit_code = Exit.INTERRUPTED
