"""Where latencies come from: this machine, a device that is attached to it, or a target's tables. The pipeline sees only this."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from edgelr.devices import Measurement, Runtime, Session, describe_host, measure, open_session
from edgelr.latency.litert_ops import litert_op_times
from edgelr.latency.op_times import OpTimes
from edgelr.latency.ort_ops import ort_op_times
from edgelr.vocabulary import Format, How

RUNTIMES: dict[Format, Runtime] = {"tflite": "litert", "onnx": "onnxruntime"}


class Machine(Protocol):
    """What whole files and their operations take, on one device or by its tables, with ``threads`` threads.

    ``on`` names the device or the tables' origin. ``runtimes`` are those of the written formats that the target has.
    """

    @property
    def on(self) -> str: ...

    @property
    def how(self) -> How:
        """How its latencies are known: "measured", or "simulated" or "predicted" by tables."""

    @property
    def threads(self) -> int: ...

    @property
    def runtimes(self) -> Mapping[Format, str]: ...

    def together(
        self, files: Mapping[str, bytes], format: Format, *, rounds: int = 30, min_seconds: float = 0.3, seed: int = 0
    ) -> Measurement:
        """Latencies of whole files of one format against each other, by name."""

    def op_times(self, data: bytes, format: Format, *, rounds: int) -> OpTimes:
        """What each operation of a file takes. Raises UnsupportedError for a file that can't be timed by operation."""

    def band(self, format: Format) -> float:
        """The error to expect of one latency, as a share; 0 where it is measured."""

    def ratio_band(self, format: Format) -> float:
        """The error to expect of the ratio of two latencies, as a share; 0 where they are measured."""

    def notes(self) -> tuple[str, ...]:
        """What a user has to know of these latencies: labels of tables, what they were read beyond, conditions of a device."""

    def close(self) -> None:
        """Let go of the device."""


@dataclass(frozen=True)
class Here:
    """This machine: files are measured in this process."""

    on: str
    runtimes: Mapping[Format, str]
    threads: int = 1
    strict: bool = False
    how: How = "measured"

    @classmethod
    def of(cls, runtimes: Mapping[Format, str], threads: int = 1, strict: bool = False) -> Here:
        """This machine under its CPU's name."""
        return cls(str(describe_host()["cpu"]), runtimes, threads, strict)

    def together(
        self, files: Mapping[str, bytes], format: Format, *, rounds: int = 30, min_seconds: float = 0.3, seed: int = 0
    ) -> Measurement:
        sessions: dict[str, Session] = {name: open_session(data, format, self.threads) for name, data in files.items()}
        try:
            return measure(sessions, on=self.on, rounds=rounds, min_seconds=min_seconds, seed=seed, strict=self.strict)
        finally:
            for session in sessions.values():
                session.close()

    def op_times(self, data: bytes, format: Format, *, rounds: int) -> OpTimes:
        if format == "tflite":
            return litert_op_times(data, threads=self.threads, rounds=rounds)
        return ort_op_times(data, threads=self.threads, runs=rounds)

    def band(self, format: Format) -> float:
        return 0.0

    def ratio_band(self, format: Format) -> float:
        return 0.0

    def notes(self) -> tuple[str, ...]:
        return ()

    def close(self) -> None:
        return None


def pair(
    machine: Machine, dense: bytes, plan: bytes, format: Format, *, rounds: int = 40, min_seconds: float = 0.5, seed: int = 0
) -> Measurement:
    """Two files of one format: "dense" and "plan". One and the same file is measured once for both."""
    files = {"dense": dense} if dense == plan else {"dense": dense, "plan": plan}
    m = machine.together(files, format, rounds=rounds, min_seconds=min_seconds, seed=seed)
    if len(files) == 2:
        return m
    return replace(m, timings={**m.timings, "plan": m["dense"]}, rounds_ms={**m.rounds_ms, "plan": m.rounds_ms["dense"]})


def pairs(machine: Machine, dense: Mapping[Format, bytes], plan: Mapping[Format, bytes], *, seed: int = 0) -> dict[str, Measurement]:
    """Dense and chosen files against each other, by runtime."""
    return {r: pair(machine, dense[f], plan[f], f, seed=seed) for f, r in machine.runtimes.items()}
