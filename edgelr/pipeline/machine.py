"""The machine that latencies are measured on, and two files measured there side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from edgelr.devices import Measurement, Session, Target, describe_host, measure, open_session
from edgelr.pipeline.settings import Format


@dataclass(frozen=True)
class Machine:
    """What latency is measured on: the CPU's name, the runtime of each written format that the target has, and the threads."""

    on: str
    runtimes: Mapping[Format, str]
    threads: int


def machine_of(target: Target, formats: Sequence[Format]) -> Machine:
    """This machine, as a target's device."""
    known: dict[Format, str] = {"tflite": "litert", "onnx": "onnxruntime"}
    return Machine(str(describe_host()["cpu"]), {f: known[f] for f in formats if known[f] in target.runtimes}, target.threads)


def measured_together(
    files: Mapping[str, bytes], format: Format, on: str, threads: int, seed: int, rounds: int = 30, min_seconds: float = 0.3
) -> Measurement:
    """Files of one format, interleaved in one process, by name."""
    sessions: dict[str, Session] = {name: open_session(data, format, threads) for name, data in files.items()}
    try:
        return measure(sessions, on=on, rounds=rounds, min_seconds=min_seconds, seed=seed)
    finally:
        for session in sessions.values():
            session.close()


def measure_pair(dense: bytes, plan: bytes, format: Format, on: str, threads: int, seed: int, rounds: int = 40) -> Measurement:
    """Two files of one format: "dense" and "plan". One and the same file is measured once for both."""
    files = {"dense": dense} if dense == plan else {"dense": dense, "plan": plan}
    m = measured_together(files, format, on, threads, seed, rounds, 0.5)
    if len(files) == 2:
        return m
    return replace(m, timings={**m.timings, "plan": m["dense"]}, rounds_ms={**m.rounds_ms, "plan": m.rounds_ms["dense"]})


def measured_pairs(dense: Mapping[Format, bytes], plan: Mapping[Format, bytes], machine: Machine, seed: int) -> dict[str, Measurement]:
    """Dense and chosen files against each other, in each runtime."""
    return {r: measure_pair(dense[f], plan[f], f, machine.on, machine.threads, seed) for f, r in machine.runtimes.items()}
