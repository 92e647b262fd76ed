"""A device that is attached: files are run, measured and profiled there by the harness, over any transport."""
from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from types import TracebackType
from typing import Any, Literal, Self

from numpy.typing import NDArray

from edgelr.devices.answers import Answer
from edgelr.devices.arrays import from_npy, to_npy
from edgelr.devices.described import Described, described
from edgelr.devices.heard import Heard
from edgelr.devices.jobs import Jobs, batches
from edgelr.devices.measure import Measurement, judged
from edgelr.devices.quoting import shown
from edgelr.devices.row_times import KernelTimes, Rows, RowTimes
from edgelr.devices.targets import Runtime
from edgelr.devices.transport import Transport
from edgelr.errors import BadInputError, DeviceError, MeasurementError, UsageError
from edgelr.vocabulary import Timing

START_S, FILE_S = 300.0, 120.0  # a Raspberry Pi Zero takes 20 s to load a runtime; a row takes a minute at most, and its loading
_MOST_OUTPUTS = 64


class Device:
    """One device behind a transport, which is closed with it.

    ``cpus``: the processors to run on; "big" are the fastest that are enough for the threads, None leaves it to the system. ``root`` is
    where /sys and /proc are there. All methods raise ``DeviceError`` if the device can't be reached, the link is lost, its answer can't
    be read or what it needs isn't installed there; ``MeasurementError`` for times that can't be, and for all times of an emulator,
    known by its transport or by what it says of itself; ``BadInputError`` for a file that the runtime refuses.
    """

    def __init__(self, transport: Transport, *, cpus: Sequence[int] | Literal["big"] | None = "big", root: str = "/") -> None:
        self._transport = transport
        self._jobs = Jobs(transport, cpus, root)
        self.address = shown(transport.address)
        self.timed = bool(getattr(transport, "timed", True))
        self._sign = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Remove what was put there and end the connection. Never raises."""
        self._transport.close()

    def describe(self, runtime: Runtime | None = None) -> Described:
        """What the device is; with a ``runtime``, as the Python there tells it that has this runtime."""
        hosts = [answer for answer in self._jobs.start("describe", runtime, seconds=START_S) if answer.kind == "host"]
        if not hosts:
            raise DeviceError("The device didn't tell what it is.")
        return self._known(hosts[0])

    def measure(
        self,
        files: Mapping[str, bytes],
        *,
        runtime: Runtime,
        threads: int,
        rounds: int = 30,
        min_seconds: float = 0.5,
        seed: int = 0,
        strict: bool = False,
    ) -> Measurement:
        """Time whole files against each other, as ``edgelr.devices.measure`` does here: the same loop runs there.

        The timings are "measured", on what the device says it is. Raises as that does.
        """
        self.must_be_timed()
        if not files or rounds < 1:
            raise UsageError("There is nothing to measure.", f"{len(files)} files, {rounds} rounds.")
        placed = self._jobs.place(files.items())
        limit_s = START_S + len(files) * (FILE_S + 10 * max(rounds, 50)) + 10 * min_seconds
        settings = {"threads": threads, "rounds": rounds, "min_seconds": min_seconds, "seed": seed}
        heard, start = Heard(placed), time.monotonic()
        for answer in self._timed(self._jobs.start("measure", runtime, placed, seconds=limit_s, **settings)):
            heard.add(answer)
        series = heard.series(time.monotonic() - start)
        empty = {name: Timing(heard.host.name, runtime, threads, 0.0, 0.0, 0.0, 0) for name in files}
        return judged(empty, series, heard.probes, clock=heard.clock, strict=strict, told=heard.host.conditions(runtime))

    def rows(
        self,
        files: Iterable[tuple[str, bytes]],
        *,
        runtime: Runtime,
        threads: int,
        least: int = 14,
        most: int = 50,
        window: int = 7,
        min_seconds: float = 0.2,
        gauges: Mapping[str, bytes] | None = None,
        near: Callable[[str], bool] = lambda name: False,
        refused: Callable[[str, str], None] | None = None,
    ) -> Iterator[tuple[str, RowTimes, int]]:
        """Time many small files, each in the context of its neighbours, and give each when it is known: name, times in us, calls.

        ``window`` files are loaded at a time. A file has at least ``least`` calls over ``min_seconds``, until its median is known to 2 %
        (95 %), or ``most``. The cost of a call is in the times: ``gauges`` are called in between all along, so that it can be taken off as
        it was at that time. Before each call of a file or gauge that is ``near`` comes an untimed one, which brings its memory close. A
        file that the runtime refuses is told to ``refused`` with the reason; without that it raises ``BadInputError``. When the link is
        lost, all that was finished before has been given.
        """
        self.must_be_timed()
        settings = {"threads": threads, "least": least, "most": most, "window": window, "min_seconds": min_seconds}
        aside = tuple((gauges or {}).items())
        for batch in batches(files):
            placed = self._jobs.place((*aside, *batch))
            warm = [str(i) for i, name in enumerate(placed.names) if near(name)]
            seconds = START_S + FILE_S * len(batch)
            started = self._jobs.start("rows", runtime, placed, seconds=seconds, gauges=len(aside), near=warm, **settings)
            yield from Rows(placed, len(aside), window, refused).given(self._timed(started))

    def kernels(self, data: bytes, *, threads: int, runs: int = 50) -> KernelTimes:
        """ONNX Runtime's own profile of an ``.onnx`` file's kernels there, in ``runs`` runs."""
        self.must_be_timed()
        placed = self._jobs.place([("file", data)])
        us: dict[str, list[float]] = {}
        whole_us: tuple[float, ...] = ()
        started = self._jobs.start("kernels", "onnxruntime", placed, seconds=START_S + 60 * runs, threads=threads, runs=runs)
        for answer in self._timed(started):
            if answer.kind == "kernels":
                us[answer.text("name")] = list(answer.times("us"))
            elif answer.kind == "whole":
                whole_us = answer.times("us")
            self._no_refusal(answer.kind, answer.values)
        if not us or not whole_us:
            raise DeviceError("The device gave no profile.")
        return KernelTimes(us, whole_us)

    def run(self, data: bytes, inputs: Sequence[NDArray[Any]], *, runtime: Runtime, threads: int = 1) -> list[NDArray[Any]]:
        """Raw outputs for raw inputs, as the file has them: in its order, of its types and shapes.

        Where inputs hold more samples than a ``.tflite`` file takes at once, they are run one after the other.
        """
        placed = self._jobs.place([("file", data)])
        arrays = self._jobs.place([(f"input {i}", to_npy(value)) for i, value in enumerate(inputs)])
        prefix, sums = self._jobs.outputs(), dict[int, str]()
        settings = {"inputs": arrays.files, "remove": [placed.path, arrays.path], "outputs": prefix, "threads": threads}
        for answer in self._jobs.start("run", runtime, placed, seconds=3600.0, silent_seconds=3600.0, **settings):
            self._no_refusal(answer.kind, answer.values)
            if answer.kind == "output":
                sums[int(answer.number("index"))] = answer.text("sha256")
        if not sums or len(sums) > _MOST_OUTPUTS or sorted(sums) != list(range(len(sums))):
            raise DeviceError("The device gave no outputs.", f"it told of {len(sums)}.")
        paths = [f"{prefix}{i}.npy" for i in range(len(sums))]
        outputs = [from_npy(self._transport.get(path), sums[i]) for i, path in enumerate(paths)]
        self._transport.run(["rm", "-f", *paths])
        return outputs

    def _known(self, host: Answer) -> Described:
        told = described(host)
        self._sign = self._sign or told.emulator
        self.timed = self.timed and not self._sign
        return told

    def _timed(self, answers: Iterator[Answer]) -> Iterator[Answer]:
        """The answers of a job that measures, which ends here where the device says that it is none."""
        known = False
        with closing(answers) if isinstance(answers, Generator) else nullcontext():  # or it would run on
            for answer in answers:
                if answer.kind == "host":
                    self._known(answer)
                    self.must_be_timed()
                    known = True
                elif not known:
                    raise DeviceError("The device didn't tell what it is.")
                yield answer

    def must_be_timed(self) -> None:
        """Raises MeasurementError where times mean nothing: on an emulator, or a virtual board that ``describe`` has seen."""
        if self.timed:
            return
        why = "it is emulated: it takes hundreds of times as long as the device, and unevenly."
        if self._sign:
            why = f"it is emulated or virtual ('{self._sign}'): its times are those of the computer that it runs on."
        try_ = "use the target's simulated table, or attach the device itself."
        raise MeasurementError(f"Times can't be measured on {self.address}.", why, try_)

    def _no_refusal(self, kind: str, values: Mapping[str, Any]) -> None:
        if kind == "refused":
            raise BadInputError(f"The runtime on {self.address} can't run this file.", shown(str(values.get("why", "")), 500))
