"""A measurement on a device as its answers come in."""
from __future__ import annotations

from edgelr.devices.answers import Answer
from edgelr.devices.described import Described, described
from edgelr.devices.jobs import Placed
from edgelr.devices.trust import Probe, Series, probe_of
from edgelr.errors import BadInputError, DeviceError, MeasurementError

_SLACK, _SLACK_S = 1.2, 2.0


class Heard:
    """What was heard of the placed files' times so far."""

    def __init__(self, placed: Placed) -> None:
        self.probes: list[Probe] = []
        self.clock = ""
        self._placed = placed
        self._host: Described | None = None
        self._starts_s: list[float] = []
        self._rounds_ms: dict[str, list[tuple[float, ...]]] = {name: [] for name in placed.names}
        self._spent_s: dict[str, tuple[float, float]] = {}

    def add(self, answer: Answer) -> None:
        """Take in one answer. Raises ``BadInputError`` for a refused file, ``DeviceError`` and ``MeasurementError`` as its getters do."""
        if answer.kind == "host":
            self._host, self.clock = described(answer), answer.text("clock", 40)
        elif answer.kind == "probe":
            self.probes.append(probe_of(answer))
        elif answer.kind == "rounds":
            self._starts_s += answer.times("starts_s")
        elif answer.kind == "samples":
            name = self._placed.name_of(answer)
            self._rounds_ms[name] += answer.turns("rounds_ms", name)
        elif answer.kind == "spent":
            self._spent_s[self._placed.name_of(answer)] = (answer.number("wall_s"), answer.number("cpu_s"))
        elif answer.kind == "refused":
            raise BadInputError(f"The device's runtime can't run '{self._placed.name_of(answer)}'.", answer.text("why", 500))

    @property
    def host(self) -> Described:
        if self._host is None:
            raise DeviceError("The device didn't tell what it is.")
        return self._host

    def series(self, elapsed_s: float) -> dict[str, Series]:
        """The times of all files, taken within ``elapsed_s`` by our own clock.

        Raises ``DeviceError`` if some are missing, ``MeasurementError`` if the device's clock can't be right.
        """
        if any(b < a for a, b in zip(self._starts_s, self._starts_s[1:], strict=False)):
            raise MeasurementError("The device's times can't be trusted.", "its clock went back while it measured.")
        series = {}
        for name, rounds_ms in self._rounds_ms.items():
            if not rounds_ms or not all(rounds_ms) or len(rounds_ms) != len(self._starts_s) or name not in self._spent_s:
                raise DeviceError("What the device answered can't be read.", f"times of '{name}' are missing.")
            series[name] = Series(tuple(rounds_ms), tuple(self._starts_s), *self._spent_s[name])
        told_s = sum(map(sum, (turn for one in series.values() for turn in one.rounds_ms))) / 1e3
        if told_s > elapsed_s * _SLACK + _SLACK_S:
            why = f"it tells of {told_s:.0f} s of work within {elapsed_s:.0f} s."
            raise MeasurementError("The device's times can't be trusted.", why, "see that nothing sets its clock, and measure again.")
        return series
