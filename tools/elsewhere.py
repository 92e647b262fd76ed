"""The same files and inputs in other interpreters: an old runtime, another vendor's, an emulated processor."""
from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

CHILD = Path(__file__).with_name("elsewhere_child.py")
Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Job:
    """A file with its inputs, each [samples, ...] as the file takes one sample (.tflite) or the batch (.onnx)."""

    name: str
    format: Literal["tflite", "onnx"]
    data: bytes
    inputs: Sequence[Array]


@dataclass(frozen=True)
class Place:
    """Where files run: the command that starts a Python there, and the modules that run each format ("" where none does)."""

    name: str
    command: Sequence[str]
    tflite: str = "ai_edge_litert"
    onnx: str = "onnxruntime"
    environment: Mapping[str, str] = field(default_factory=dict)


HERE = Place("this machine", [sys.executable])


def run_at(place: Place, jobs: Iterable[Job], seconds: float = 600.0) -> dict[str, list[Array] | str]:
    """The outputs of each job by its name, or why there are none: what the runtime said, or how its process ended.

    A file that takes its process with it is left out and the rest is run again. Raises ``TimeoutExpired`` after ``seconds``,
    ``RuntimeError`` where no Python or no runtime starts.
    """
    jobs = list(jobs)
    with tempfile.TemporaryDirectory(prefix="edgelr-") as name:
        folder = Path(name)
        for job in jobs:
            (folder / f"{job.name}.{job.format}").write_bytes(job.data)
            for i, values in enumerate(job.inputs):
                np.save(folder / f"{job.name}.{i}.npy", values)
        listed = [{"name": j.name, "format": j.format, "inputs": len(j.inputs)} for j in jobs]
        (folder / "jobs.json").write_text(json.dumps(listed), encoding="utf-8")
        for format, module in (("tflite", place.tflite), ("onnx", place.onnx)):
            if module and any(j.format == format for j in jobs):
                _start(place, folder, module, seconds)
        modules = {"tflite": place.tflite, "onnx": place.onnx}
        return {j.name: _outputs(folder, f"{j.name}.{modules[j.format]}") for j in jobs if modules[j.format]}


def _start(place: Place, folder: Path, module: str, seconds: float) -> None:
    fallen = 0
    while True:
        child = subprocess.run([*place.command, str(CHILD), str(folder), module], capture_output=True, text=True, timeout=seconds,
                               env=dict(place.environment) or None, check=False)
        if child.returncode == 0:
            return
        begun = len(list(folder.glob(f"*.{module}.begun")))
        if begun == fallen:  # it ended outside any job
            raise RuntimeError(f"{place.name}: {module} does not run: {child.stderr.strip().splitlines()[-1:]}")
        fallen = begun


def _outputs(folder: Path, stem: str) -> list[Array] | str:
    done, refused = folder / f"{stem}.npz", folder / f"{stem}.txt"
    if done.exists():
        with np.load(done) as held:
            return [held[f"arr_{i}"] for i in range(len(held.files))]
    return refused.read_text(encoding="utf-8") if refused.exists() else "the process died"


@dataclass(frozen=True)
class Difference:
    """How far two results of a file lie apart: ``worst`` in steps of the integer grid, or as a share of the largest value in float."""

    integer: bool
    values: int
    equal: int
    worst: float


def difference(want: Sequence[Array], got: Sequence[Array]) -> Difference:
    """Compare all outputs of one file. Raises ``ValueError`` where their shapes or types differ."""
    if [(a.shape, a.dtype) for a in want] != [(a.shape, a.dtype) for a in got]:
        raise ValueError("outputs of other shapes or types")
    integer = all(a.dtype.kind in "iu" for a in want)
    values = sum(a.size for a in want)
    equal = sum(int((a == b).sum()) for a, b in zip(want, got, strict=True))
    worst = 0.0
    for a, b in zip(want, got, strict=True):
        if a.size:
            apart = float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max())
            largest = 1.0 if integer else max(float(np.abs(a).max()), 1e-30)
            worst = max(worst, apart / largest if np.isfinite(apart) else float("inf"))
    return Difference(integer, values, equal, worst)
