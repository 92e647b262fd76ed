"""Jobs for the harness: files put on the device in one piece, the job started, its answers checked."""
from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Literal

from edgelr.devices.answers import Answer, answers
from edgelr.devices.harness.job import SCHEMA
from edgelr.devices.harness_file import NAME, harness_file
from edgelr.devices.quoting import shown
from edgelr.devices.targets import Runtime
from edgelr.devices.transport import Transport
from edgelr.errors import DeviceError

# Which modules a runtime may come in; the first one that the device has is used, there as here.
_MODULES: dict[Runtime, tuple[str, ...]] = {"litert": ("ai_edge_litert", "tflite_runtime"), "onnxruntime": ("onnxruntime",)}
BATCH_FILES, BATCH_BYTES = 64, 16_000_000


@dataclass(frozen=True)
class Placed:
    """Files on the device: the path of the one file that holds them all, and where each lies in it. A job calls them "0", "1" …"""

    names: tuple[str, ...]
    files: tuple[Mapping[str, Any], ...]
    path: str

    def name_of(self, answer: Answer) -> str:
        """Our name of the file that an answer is about. Raises ``DeviceError`` if it isn't one of these."""
        name = answer.text("name")
        if not name.isascii() or not name.isdigit() or len(name) > 9 or int(name) >= len(self.names):
            raise DeviceError("What the device answered can't be read.", f"it told of a file '{name}' that it wasn't given.")
        return self.names[int(name)]


class Jobs:
    """Starts jobs on one device, one at a time."""

    def __init__(self, transport: Transport, cpus: Sequence[int] | Literal["big"] | None, root: str) -> None:
        self._transport = transport
        self._settings = {"schema": SCHEMA, "cpus": list(cpus) if isinstance(cpus, Sequence) and cpus != "big" else cpus, "root": root}
        self._harness = ""
        self._count = 0
        self._pythons: dict[Runtime | None, list[str]] = {}

    def place(self, files: Iterable[tuple[str, bytes]]) -> Placed:
        """Put files there as one: a link has a round trip for each file, and tables have hundreds of small ones."""
        named = list(files)
        ends = list(accumulate((len(data) for _, data in named), initial=0))
        path = self._transport.put(b"".join(data for _, data in named), self._name("files"))
        entries = tuple(
            {"name": str(i), "path": path, "offset": ends[i], "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for i, (_, data) in enumerate(named)
        )
        return Placed(tuple(name for name, _ in named), entries, path)

    def outputs(self) -> str:
        """The beginning of the paths of files that a job writes."""
        return f"{self._transport.folder}/{self._name('output-')}"

    def start(
        self, task: str, runtime: Runtime | None, placed: Placed | None = None, *, seconds: float, silent_seconds: float = 600.0, **job: Any
    ) -> Iterator[Answer]:
        """The answers of a job on the placed files as they come, "loading" left out. The placed files are gone when it ends.

        Raises ``DeviceError`` naming the file whose loading ended the job, where one did.
        """
        python, loading = self._python(runtime), ""
        if not self._harness:
            self._harness = self._transport.put(harness_file(), NAME)
        files, remove = (placed.files, [placed.path]) if placed else ((), [])
        text = json.dumps({**self._settings, "task": task, "runtime": runtime, "files": files, "remove": remove, **job})
        path = self._transport.put(text.encode(), "job")
        lines = self._transport.lines([*python, self._harness, path], seconds=seconds, silent_seconds=silent_seconds)
        try:
            for answer in answers(lines):
                loading = shown(placed.name_of(answer)) if placed and answer.kind == "loading" else ""
                if answer.kind != "loading":
                    yield answer
        except DeviceError as error:
            if not loading:
                raise
            raise DeviceError(error.what, f"it was loading '{loading}': {error.why}", error.try_, detail=error.detail) from error
        finally:
            if isinstance(lines, Generator):  # a caller that stops listening ends the job
                lines.close()

    def _python(self, runtime: Runtime | None) -> list[str]:
        if runtime not in self._pythons:
            self._pythons[runtime] = self._find_python(runtime)
        return self._pythons[runtime]

    def _find_python(self, runtime: Runtime | None) -> list[str]:
        if runtime is None:
            return self._transport.python(())
        refusals = []
        for module in _MODULES[runtime]:
            try:
                return self._transport.python(("numpy", module))
            except DeviceError as error:
                refusals.append(error)
        raise refusals[0]

    def _name(self, kind: str) -> str:
        self._count += 1
        return f"{kind}{self._count}"


def batches(files: Iterable[tuple[str, bytes]]) -> Iterator[list[tuple[str, bytes]]]:
    """The files in portions that a small device holds easily, drawn as they are needed."""
    batch: list[tuple[str, bytes]] = []
    for file in files:
        batch.append(file)
        if len(batch) == BATCH_FILES or sum(len(data) for _, data in batch) >= BATCH_BYTES:
            yield batch
            batch = []
    if batch:
        yield batch
