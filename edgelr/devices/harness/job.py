"""Runs and measures files on a device: the one file that is put there, and the project's one measuring loop.

``python harness.py JOB`` needs Python 3.9, and for all but "describe" numpy with ai-edge-litert, tflite-runtime or onnxruntime. It imports
nothing of edgelr. JOB is a JSON file::

    {"schema": 1, "task": "describe" | "measure" | "rows" | "kernels" | "run" | "count", "runtime": "litert" | "onnxruntime", "threads": 1,
     "cpus": [0, 1] | "big" | null, "files": [{"name", "path", "sha256", "offset"?, "bytes"?}], "remove": [PATH],
     "rounds": 30, "min_seconds": 0.5, "seed": 0,          measure; "rounds" is also the least of "rows" and the runs of "kernels"
     "most": 50, "window": 7, "evict_bytes": 0,            rows
     "inputs": [{"path", "sha256"}], "outputs": PREFIX,    run: .npy files; PREFIX0.npy … are written
     "root": "/"}                                          where /sys and /proc are

A file may be a slice of a larger one (offset, bytes). Every line it prints is a JSON object with "edgelr": 1 and a "kind". Each job
begins with "host" and ends with "end", or with "failed". Files that the runtime can't load are "refused"; files whose SHA-256 is another
are too, with "damaged". Nothing else is written to standard output.
"""
from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


class Work:
    """One job on its way: its files are checked and loaded, its lines written."""

    def __init__(self, job: dict[str, Any], out: int) -> None:
        self.job, self._out = job, out
        self.threads, self.root = job.get("threads", 1), job.get("root", "/")
        self.watch = Stopwatch(self.threads)
        self.probes, self._told = 0, 0.0

    def say(self, kind: str, **values: Any) -> None:
        data = json.dumps({"edgelr": SCHEMA, "kind": kind, **values}).encode() + b"\n"
        while data:
            data = data[os.write(self._out, data) :]

    def tell(self, when: str) -> None:
        self.probes, self._told = self.probes + 1, time.perf_counter()
        self.say("probe", **probe(when, self.root))

    def beat(self) -> None:
        if time.perf_counter() - self._told > BEAT_SECONDS:
            self.tell("during")

    def data(self, file: Mapping[str, Any]) -> bytes:
        with Path(file["path"]).open("rb") as stream:
            stream.seek(file.get("offset", 0))
            data = stream.read(file.get("bytes", -1))
        if hashlib.sha256(data).hexdigest() != file["sha256"]:
            self.say("refused", name=file.get("name", ""), why="the SHA-256 of what arrived is another", damaged=True)
            raise SystemExit(0)
        return data

    def files(self) -> Iterator[tuple[str, bytes]]:
        for file in self.job.get("files", []):
            yield file["name"], self.data(file)

    def sessions(self) -> Iterator[tuple[str, Any]]:
        """The files that the runtime can load, one by one."""
        for name, data in self.files():
            self.say("loading", name=name)
            try:
                session = (LiteRT if self.job["runtime"] == "litert" else Ort)(data, self.threads)
            except ImportError:
                raise
            except Exception as error:
                self.say("refused", name=name, why=f"{type(error).__name__}: {error}"[:500])
            else:
                yield name, session

    def describe(self) -> None:
        self.tell("before")

    def measure(self) -> None:
        calls = {name: session.invoke for name, session in self.sessions()}
        settings = {key: self.job[key] for key in ("rounds", "min_seconds", "seed")}
        taken = interleave(calls, self.watch, tell=self.tell, **settings) if calls else {"rounds_ms": {}, "starts_s": []}
        for name, turns in taken["rounds_ms"].items():
            for i in range(0, len(turns), 500):
                self.say("samples", name=name, rounds_ms=turns[i : i + 500], wall_s=taken["wall_s"][name], cpu_s=taken["cpu_s"][name])
        for i in range(0, len(taken["starts_s"]), 5000):
            self.say("rounds", starts_s=taken["starts_s"][i : i + 5000])

    def rows(self) -> None:
        limits = {key: self.job[key] for key in ("most", "window", "evict_bytes")}
        self.tell("before")
        for row in ring(self.sessions(), self.watch, least=self.job["rounds"], turned=self.beat, **limits):
            if time.perf_counter() - self._told > 1:
                self.tell("during")
            self.say("row", name=row.name, us=row.us)

    def count(self) -> None:
        """Each file alone: once warm, then the caches are swept, its input written again, and one call between two marks.

        ``os.getppid`` is the mark: a system call that nothing else here makes, so an emulator can count what lies between.
        """
        import numpy as np

        scratch = np.zeros(self.job.get("evict_bytes", EVICT_BYTES), np.uint8)
        for name, session in self.sessions():
            session.invoke()
            scratch += 1
            session.feed()
            os.getppid()
            session.invoke()
            os.getppid()
            session.close()
            self.say("counted", name=name)

    def kernels(self) -> None:
        for name, data in self.files():
            plain, whole_us = Ort(data, self.threads), []
            self.tell("before")

            def between(call: Callable[[], None] = plain.invoke, taken: list[float] = whole_us) -> None:
                call()
                taken.append(self.watch.seconds(call) * 1e6)
                self.beat()

            runs = kernel_times(data, threads=self.threads, runs=self.job["rounds"], warm_up=10, between=between)
            self.tell("after")
            self.say("whole", name=name, us=whole_us)
            for kernel, us in runs.items():
                self.say("kernels", name=kernel, us=us)

    def run(self) -> None:
        import io

        import numpy as np

        inputs = [np.load(io.BytesIO(self.data(file)), allow_pickle=False) for file in self.job["inputs"]]
        for _, session in self.sessions():
            for i, value in enumerate(session.run(inputs)):
                stream = io.BytesIO()
                np.save(stream, np.ascontiguousarray(value), allow_pickle=False)
                path = Path(f"{self.job['outputs']}{i}.npy")
                path.write_bytes(stream.getvalue())
                self.say("output", path=str(path), sha256=hashlib.sha256(stream.getvalue()).hexdigest())


def main(path: str) -> None:
    """Do a job. Standard output is ours alone: what the runtimes print goes to standard error."""
    out = os.dup(1)
    os.dup2(2, 1)
    job = json.loads(Path(path).read_text(encoding="utf-8"))
    work = Work(job, out)
    try:
        cpus = pin(job.get("cpus"), work.threads, work.root)
        work.say("host", **host(work.root), pinned=cpus, clock=work.watch.name)
        {"describe": work.describe, "measure": work.measure, "rows": work.rows, "count": work.count, "kernels": work.kernels, "run": work.run}[
            job["task"]
        ]()
        work.say("end")
    except BrokenPipeError:
        raise SystemExit(1) from None  # the link is gone: nobody listens
    except Exception as error:
        work.say("failed", why=f"{type(error).__name__}: {error}"[:500])
    finally:
        for leftover in job.get("remove", []):
            Path(leftover).unlink(missing_ok=True)


if __name__ == "__main__":
    sys.path.pop(0)  # beside this file may lie modules with the names of Python's own
    main(sys.argv[1])
