"""One job on a device: ``python harness.zip JOB``.

It needs Python 3.9, and for all but "describe" numpy with ai-edge-litert, tflite-runtime or onnxruntime. JOB is a JSON file::

    {"schema": 1, "task": "describe" | "measure" | "rows" | "kernels" | "run", "runtime": "litert" | "onnxruntime", "threads": 1,
     "cpus": [0, 1] | "big" | null, "files": [{"name", "path", "sha256", "offset"?, "bytes"?}], "remove": [PATH],
     "rounds": 30, "min_seconds": 0.5, "seed": 0,              measure
     "least": 14, "most": 50, "window": 7, "gauges": 2,        rows, with min_seconds; the first files are gauges
     "near": [NAME],                                           rows; an untimed call comes before each timed one of these files or gauges
     "runs": 50,                                               kernels
     "inputs": [{"path", "sha256"}], "outputs": PREFIX,        run: .npy files; PREFIX0.npy … are written
     "root": "/"}                                              where /sys and /proc are

A file may be a slice of a larger one (offset, bytes). Every line that is printed is a JSON object with "edgelr": 1 and a "kind": first
"host", last "end", "failed" or "damaged" (a SHA-256 is another). A file that the runtime can't load is "refused", and "loading" comes
before, so that a crash has a name. The files to "remove" are gone before the last line.
"""
from __future__ import annotations

import hashlib
import io
import json
import os
import time
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from .clock import Stopwatch
from .host import host, pin
from .loops import BEAT_SECONDS, interleave, ring
from .probes import probe

SCHEMA = 1
_ROUNDS_A_LINE = 500  # keeps a line far below a megabyte


class DamagedError(Exception):
    """A file isn't what was sent."""


class Job:
    """A job on its way: its files are checked and loaded, its lines written to ``out``."""

    def __init__(self, job: Mapping[str, Any], out: int) -> None:
        self.job, self._out = job, out
        self.threads, self._root = int(job.get("threads", 1)), str(job.get("root", "/"))
        self.watch = Stopwatch(self.threads)
        self._told = 0.0

    def do(self) -> None:
        cpus = pin(self.job.get("cpus"), self.threads, self._root)
        self.say("host", **host(self._root), pinned=cpus, clock=self.watch.name)
        tasks = {"describe": self.describe, "measure": self.measure, "rows": self.rows}
        {**tasks, "kernels": self.kernels, "run": self.run}[self.job["task"]]()

    def say(self, kind: str, **values: Any) -> None:
        data = json.dumps({"edgelr": SCHEMA, "kind": kind, **values}).encode() + b"\n"
        while data:
            data = data[os.write(self._out, data) :]

    def tell(self, when: str) -> None:
        """A line with all probes. It also says that the job is alive."""
        self.say("probe", **probe(when, self._root))
        self._told = time.perf_counter()

    def beat(self, seconds: float = BEAT_SECONDS) -> None:
        if time.perf_counter() - self._told > seconds:
            self.tell("during")

    def data(self, file: Mapping[str, Any]) -> bytes:
        with Path(file["path"]).open("rb") as stream:
            stream.seek(file.get("offset", 0))
            data = stream.read(file.get("bytes", -1))
        if hashlib.sha256(data).hexdigest() != file["sha256"]:
            raise DamagedError(file.get("name", ""))
        return data

    def sessions(self) -> Iterator[tuple[str, Any]]:
        """The files that the runtime can load and run, one by one, each having run once."""
        from .runtimes import LiteRT, Ort

        for file in self.job["files"]:
            data = self.data(file)
            self.say("loading", name=file["name"])
            try:
                session = (LiteRT if self.job["runtime"] == "litert" else Ort)(data, self.threads)
                session.invoke()
            except ImportError:
                raise
            except Exception as error:
                self.say("refused", name=file["name"], why=f"{type(error).__name__}: {error}"[:500])
            else:
                yield file["name"], session

    def describe(self) -> None:
        self.tell("before")

    def measure(self) -> None:
        calls = {name: session.invoke for name, session in self.sessions()}
        if not calls:
            return
        taken = interleave(calls, self.watch, tell=self.tell, **{key: self.job[key] for key in ("rounds", "min_seconds", "seed")})
        for start in range(0, len(taken["starts_s"]), _ROUNDS_A_LINE):
            some = slice(start, start + _ROUNDS_A_LINE)
            self.say("rounds", starts_s=taken["starts_s"][some])
            for name, rounds_ms in taken["rounds_ms"].items():
                self.say("samples", name=name, rounds_ms=rounds_ms[some])
        for name in calls:
            self.say("spent", name=name, wall_s=taken["wall_s"][name], cpu_s=taken["cpu_s"][name])

    def rows(self) -> None:
        files, limits = self.sessions(), {key: self.job[key] for key in ("least", "most", "window", "min_seconds")}
        gauges = list(islice(files, self.job.get("gauges", 0)))
        self.tell("before")
        near = frozenset(self.job.get("near", []))
        for row in ring(files, self.watch, gauges=gauges, near=near, turned=self.beat, **limits):
            self.beat(1.0)
            self.say("row", name=row.name, us=_rounded(row.us), gauges_us=[_rounded(us) for us in row.gauges_us])

    def kernels(self) -> None:
        from .runtimes import kernel_times

        for (_, plain), file in zip(self.sessions(), self.job["files"]):  # noqa: B905 (Python 3.9)
            whole_us: list[float] = []

            def between(plain: Any = plain, whole_us: list[float] = whole_us) -> None:
                plain.invoke()
                whole_us.append(self.watch.seconds(plain.invoke) * 1e6)
                self.beat()

            self.tell("before")
            kernels = kernel_times(self.data(file), threads=self.threads, runs=self.job["runs"], warm_up=10, between=between)
            self.tell("after")
            self.say("whole", us=whole_us)
            for name, us in kernels.items():
                self.say("kernels", name=name, us=us)

    def run(self) -> None:
        import numpy as np

        inputs = [np.load(io.BytesIO(self.data(file)), allow_pickle=False) for file in self.job["inputs"]]
        for _, session in self.sessions():
            for i, value in enumerate(session.run(inputs)):
                stream = io.BytesIO()
                np.save(stream, np.ascontiguousarray(value), allow_pickle=False)
                Path(f"{self.job['outputs']}{i}.npy").write_bytes(stream.getvalue())
                self.say("output", index=i, sha256=hashlib.sha256(stream.getvalue()).hexdigest())


def _rounded(us: list[float]) -> list[float]:
    return [round(one, 3) for one in us]


def main(path: str) -> None:
    """Do a job. Standard output is the job's alone: what the runtimes print goes to standard error."""
    out = os.dup(1)
    os.dup2(2, 1)
    described = json.loads(Path(path).read_text(encoding="utf-8"))
    job, last = Job(described, out), {"kind": "end"}
    try:
        job.do()
    except BrokenPipeError:
        raise SystemExit(1) from None  # the link is gone: nobody listens
    except DamagedError as error:
        last = {"kind": "damaged", "name": str(error)}
    except Exception as error:
        last = {"kind": "failed", "why": f"{type(error).__name__}: {error}"[:500]}
    finally:
        for leftover in described.get("remove", []):
            Path(leftover).unlink(missing_ok=True)
    job.say(**last)
