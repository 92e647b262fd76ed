"""A device that is attached: whole files and their operations are measured on it, by the harness that is put there."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgelr.devices import Device, Measurement
from edgelr.latency.device_ops import device_op_times
from edgelr.latency.machine import RUNTIMES
from edgelr.latency.op_times import OpTimes
from edgelr.vocabulary import Format, How


@dataclass(frozen=True)
class Attached:
    """Latencies measured on ``device``. ``labels`` are what is to be said of it."""

    device: Device
    on: str
    runtimes: Mapping[Format, str]
    threads: int = 1
    strict: bool = False
    labels: tuple[str, ...] = ()
    how: How = "measured"

    def together(
        self, files: Mapping[str, bytes], format: Format, *, rounds: int = 30, min_seconds: float = 0.3, seed: int = 0
    ) -> Measurement:
        return self.device.measure(
            files,
            runtime=RUNTIMES[format],
            threads=self.threads,
            rounds=rounds,
            min_seconds=min_seconds,
            seed=seed,
            strict=self.strict,
        )

    def op_times(self, data: bytes, format: Format, *, rounds: int) -> OpTimes:
        return device_op_times(self.device, data, format, threads=self.threads)

    def band(self, format: Format) -> float:
        return 0.0

    def ratio_band(self, format: Format) -> float:
        return 0.0

    def notes(self) -> tuple[str, ...]:
        return self.labels

    def close(self) -> None:
        self.device.close()
