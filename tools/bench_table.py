"""What every benchmark shares: its arguments, cells that survive an interruption, and a page with command, machine and versions."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from edgelr.devices import describe_host

FOLDERS = ("--cache", "--environments", "--tables")
PACKAGES = ("torch", "numpy", "ai-edge-litert", "onnxruntime", "onnx", "scipy")


def parser(description: str | None, name: str) -> argparse.ArgumentParser:
    """The arguments that all benchmarks take. ``name``: what the page is usually called."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--shared", type=Path, default=Path(__file__).resolve().parents[2] / "shared", help="folder with models/ and data/")
    made.add_argument(
        "--out", type=Path, help=f"Markdown file to write, as in docs/benchmarks/{name}.md; unfinished work is kept beside it"
    )
    made.add_argument("--quick", action="store_true", help="few samples: shows that it runs, the numbers mean nothing")
    return made


def need(shared: Path, *files: str) -> None:
    """End cleanly where data or models are absent."""
    absent = [f for f in files if not (shared / f).is_file()]
    if absent:
        print(f"skipped: {', '.join(absent)} not found in {shared}", file=sys.stderr)
        raise SystemExit(0)


def tell(text: str) -> None:
    """Progress, beside the result."""
    print(text, file=sys.stderr, flush=True)


@dataclass
class Cells:
    """Results by key, kept in ``.NAME.partial.json`` beside ``out`` as they are made; one of other settings is not taken up."""

    out: Path | None
    settings: Mapping[str, Any]
    done: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.file and self.file.is_file():
            held = json.loads(self.file.read_text(encoding="utf-8"))
            if held["settings"] == json.loads(json.dumps(self.settings)):
                self.done, self.seconds = held["done"], held["seconds"]
                tell(f"{len(self.done)} cells taken up from {self.file}")

    @property
    def file(self) -> Path | None:
        return self.out and self.out.with_name(f".{self.out.stem}.partial.json")

    def cell(self, key: str, make: Callable[[], Any]) -> Any:
        """The cell's value: made now, or by an earlier run that was interrupted."""
        if key not in self.done:
            start = time.perf_counter()
            self.put(key, make(), lambda: time.perf_counter() - start)
        return self.done[key]

    def put(self, key: str, value: Any, seconds: Callable[[], float]) -> None:
        self.done[key], self.seconds[key] = json.loads(json.dumps(value)), seconds()
        tell(f"{key}: {self.seconds[key]:.1f} s")
        if self.file:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self.file.write_text(json.dumps({"settings": self.settings, "done": self.done, "seconds": self.seconds}), encoding="utf-8")

    def finish(self) -> None:
        """All is written: the next run starts afresh."""
        if self.file:
            self.file.unlink(missing_ok=True)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; cells are written as they are."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return "\n".join([*lines, *(f"| {' | '.join(map(str, row))} |" for row in rows)])


def facts(seconds: float, quick: bool) -> str:
    """Command, date, machine, versions and seconds of a run."""
    host = describe_host()
    versions = ", ".join(f"{p} {metadata.version(p)}" for p in PACKAGES)
    threads = os.environ.get("OMP_NUM_THREADS", "as many as cores")
    lines = [
        f"- command: `python tools/{shlex.join(_command(sys.argv))}`" + (" (**quick: numbers mean nothing**)" if quick else ""),
        f"- date: {datetime.datetime.now(datetime.UTC):%Y-%m-%d}; {seconds:.0f} s in all; OMP_NUM_THREADS: {threads}",
        f"- machine: {host['cpu']} ({', '.join(host['isa'])}), {host['cores']} cores, {host['system']}",
        f"- versions: edgelr {metadata.version('edgelr')}, Python {sys.version.split()[0]}, {versions}",
    ]
    return "\n".join(lines)


def _command(words: Sequence[str]) -> list[str]:
    """A command line as anyone may type it: the page in docs/benchmarks, folders of this machine by the word FOLDER."""
    told = [Path(words[0]).name, *words[1:]]
    for at, word in enumerate(words[1:-1], 2):
        if word == "--out":
            told[at] = f"docs/benchmarks/{Path(words[at]).name}"
        elif word in FOLDERS:
            told[at] = "FOLDER"
    shared = told.index("--shared") if "--shared" in told else len(told)
    return told[:shared] + told[shared + 2 :]


def publish(out: Path | None, title: str, seconds: float, quick: bool, *parts: str) -> None:
    """Print the page, and write it where ``out`` says."""
    text = "\n\n".join([f"# {title}", facts(seconds, quick), *parts]) + "\n"
    print(text)
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
