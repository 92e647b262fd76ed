"""Times of single operations and kernels on a device, as they come in."""
from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from edgelr.devices.answers import Answer
from edgelr.devices.jobs import Placed
from edgelr.devices.quoting import shown
from edgelr.devices.statistics import Spread, spread
from edgelr.devices.trust import Probe, probe_of, sensed
from edgelr.errors import BadInputError, DeviceError, MeasurementError


@dataclass(frozen=True)
class RowTimes(Spread):
    """Microseconds of a call of a single-operation file, the cost of a call included. ``flags``: what the sensors say against them.

    ``calls_us``: each call; ``gauges_us``: the call of each gauge, by name, that came before each of these.
    """

    flags: tuple[str, ...] = ()
    calls_us: tuple[float, ...] = ()
    gauges_us: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class KernelTimes(Mapping[str, list[float]]):
    """Microseconds of each kernel in each profiled run, by the names of ONNX Runtime's optimised graph.

    ``whole_us``: the whole file in runs between those, without profiling.
    """

    us: Mapping[str, list[float]]
    whole_us: tuple[float, ...]

    def __getitem__(self, name: str) -> list[float]:
        return self.us[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.us)

    def __len__(self) -> int:
        return len(self.us)


class Rows:
    """The rows of one portion of files, the first ``gauges`` of which have none.

    A row's flags are from the probes since ``window`` rows before it.
    """

    def __init__(self, placed: Placed, gauges: int, window: int, refused: Callable[[str, str], None] | None) -> None:
        self._placed, self._refused, self._gauges = placed, refused, placed.names[:gauges]
        self._probes: list[Probe] = []
        self._begun: deque[int] = deque([0] * (window + 1), window + 1)
        self._left = set(placed.names[gauges:])

    def given(self, answers: Iterable[Answer]) -> Iterator[tuple[str, RowTimes, int]]:
        """Raises ``DeviceError`` if rows are missing at the end or come twice, ``MeasurementError`` for times that can't be."""
        for answer in answers:
            if answer.kind == "probe":
                self._probes.append(probe_of(answer))
            elif answer.kind in ("row", "refused"):
                name = self._placed.name_of(answer)
                if answer.kind == "refused" and name in self._gauges:
                    raise BadInputError(f"The device's runtime can't run '{shown(name)}'.", answer.text("why", 500))
                if name not in self._left:
                    raise DeviceError("What the device answered can't be read.", f"it told of '{shown(name)}' twice.")
                self._left.discard(name)
                if answer.kind == "row":
                    yield self._row(name, answer)
                elif self._refused is None:
                    raise BadInputError(f"The device's runtime can't run '{shown(name)}'.", answer.text("why", 500))
                else:
                    self._refused(name, answer.text("why", 500))
        if self._left:
            raise DeviceError("What the device answered can't be read.", f"times of '{shown(min(self._left))}' are missing.")

    def _row(self, name: str, answer: Answer) -> tuple[str, RowTimes, int]:
        times = answer.times("us", shown(name))
        s = spread(times or (0.0,))
        if s.median <= 0:
            raise MeasurementError(f"The times of '{shown(name)}' can't be trusted.", "the device's clock doesn't move while it runs.")
        flags = sensed(self._probes[max(0, self._begun[0] - 1) :])
        self._begun.append(len(self._probes))
        gauges_us = answer.turns("gauges_us", shown(name))
        if [len(each) for each in gauges_us] != [len(times)] * len(self._gauges):
            raise DeviceError("What the device answered can't be read.", f"it told of {len(gauges_us)} gauges, or of other calls of them.")
        gauges = dict(zip(self._gauges, gauges_us, strict=True))
        return name, RowTimes(s.median, s.p10, s.p90, s.low, s.high, s.n, flags, times, gauges), s.n
