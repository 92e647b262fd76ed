"""What a device says, line by line: nothing of it is trusted before it is checked, and nothing is shown as it came."""
from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from edgelr.devices.harness.job import SCHEMA
from edgelr.devices.quoting import shown
from edgelr.errors import DeviceError, MeasurementError

LINE_BYTES = 1_000_000
TOTAL_BYTES = 64_000_000  # a measurement of an hour says less
FOREIGN_LINES = 1000  # what a login or a runtime prints between ours


@dataclass(frozen=True)
class Answer:
    """One line of the harness. The getters raise ``DeviceError`` for what isn't there or is of another kind."""

    kind: str
    values: Mapping[str, Any]

    def text(self, key: str, limit: int = 300) -> str:
        value = self.values.get(key)
        if not isinstance(value, str):
            raise _unreadable(f"'{key}' of '{self.kind}' is no text.")
        return shown(value, limit)

    def number(self, key: str) -> float:
        return _number(self.values.get(key), key)

    def numbers(self, key: str) -> tuple[float, ...]:
        return tuple(_number(value, key) for value in self.items(key))

    def times(self, key: str, name: str = "") -> tuple[float, ...]:
        """Times of the file ``name``, all finite and not negative. Raises ``MeasurementError`` for any that isn't."""
        return check_times(self.items(key), name or key)

    def turns(self, key: str, name: str) -> list[tuple[float, ...]]:
        """Lists of such times."""
        turns = self.items(key)
        if not all(isinstance(turn, list) for turn in turns):
            raise _unreadable(f"'{key}' of '{self.kind}' is no list of lists.")
        return [check_times(turn, name) for turn in turns]

    def items(self, key: str) -> list[Any]:
        value = self.values.get(key)
        if not isinstance(value, list):
            raise _unreadable(f"'{key}' of '{self.kind}' is no list.")
        return value


def check_times(values: Iterable[object], name: str) -> tuple[float, ...]:
    """The values, if all are finite numbers and none is negative. Raises ``MeasurementError``: such a clock can't be trusted."""
    times = tuple(float(v) if isinstance(v, int | float) and not isinstance(v, bool) else math.nan for v in values)
    for time in times:
        if not 0 <= time < math.inf:
            why = "its clock went back while it ran." if time < 0 else "one of its times isn't a number."
            raise MeasurementError(
                f"The times of '{name}' can't be trusted.", why, "see that nothing sets the clock while it measures, and measure again."
            )
    return times


def answers(lines: Iterable[bytes]) -> Iterator[Answer]:
    """The harness's lines, checked, to its last one ("end"). Other lines are passed over, up to a bound.

    Raises ``DeviceError`` for lines that are too many or too long, for a damaged file, for a job that failed, and if the last line is
    missing.
    """
    total = foreign = 0
    for line in lines:
        total += len(line)
        if len(line) > LINE_BYTES or total > TOTAL_BYTES:
            raise _unreadable(f"it sent more than {TOTAL_BYTES // 1_000_000} MB.")
        values = _ours(line)
        if values is None:
            foreign += 1
            if foreign > FOREIGN_LINES:
                raise _unreadable(f"it began with: {shown(line, 60)}")
            continue
        answer = Answer(str(values["kind"]), values)
        if answer.kind == "end":
            return
        if answer.kind == "damaged":
            raise DeviceError(f"A file arrived damaged: {answer.text('name')}.", "its SHA-256 there is another.", "try again.")
        if answer.kind == "failed":
            raise DeviceError("The job failed on the device.", answer.text("why", 500))
        yield answer
    raise _unreadable("it ended without telling that the job was done.")


def _ours(line: bytes) -> dict[str, Any] | None:
    if not line.lstrip().startswith(b"{"):
        return None
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return None
    mine = isinstance(values, dict) and values.get("edgelr") == SCHEMA and isinstance(values.get("kind"), str)
    return values if mine else None


def _number(value: object, key: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _unreadable(f"'{shown(key, 60)}' is no number.")
    return float(value)


def _unreadable(why: str) -> DeviceError:
    return DeviceError("What the device answered can't be read.", why, "see that nothing else writes to this connection, and try again.")
