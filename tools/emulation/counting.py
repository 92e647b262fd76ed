"""What one call of a file does on an emulated Arm core, counted exactly: instructions by class and lines moved between caches.

    python tools/emulation/counting.py --environments FOLDER --core a72 FILE...

Needs Debian's qemu-user and gcc. The same file gives the same numbers each time and everywhere: addresses are fixed (``setarch -R``), the
program sees no name or variable of this machine, and each file is counted in a fork of a process that has run one small network.
"""
from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # run as a program, or imported from another folder's
from plugin import PluginError, arguments, build, digest

from edgelr.devices import sysroot
from edgelr.devices.sysroot import CORES, WHEELS, command, prepare, python, qemu, view

GUEST = Path(__file__).with_name("guest.py")
EXTENSION = {"litert": "tflite", "onnxruntime": "onnx"}
_PYTHON_FD = 200  # the interpreter is named /proc/self/fd/200: a path's length would move the stack
_FIRST = 1000  # files are numbered from here: names of one length, and numbers that Python does not keep ready
_ADDRESSES = "0x400000000"  # the guest's 16 GiB: it is given the same addresses whatever this machine's look like


@dataclass(frozen=True)
class Events:
    """One call. The first five are instructions, each in one class alone; nop is in none. The others are lines of 64 bytes.

    ``fp_mac``: fused multiply-adds and multiplications of floats, scalar or vector; ``int_mac``: dot products, matrix products,
    multiply-adds and multiplications of integer vectors; ``fetched``: into that level from the next, ``written``: back to the next.
    """

    fp_mac: int
    int_mac: int
    load: int
    store: int
    other: int
    l1_fetched: int
    l1_written: int
    l2_fetched: int
    l2_written: int
    l3_fetched: int
    l3_written: int


class NotCountedError(Exception):
    """Files that a runtime refused: ``reasons`` by name. All others are counted, and in the cache if there is one."""

    def __init__(self, reasons: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {why}" for name, why in reasons.items()))
        self.reasons = dict(reasons)


def events(files: Sequence[tuple[str, bytes]], core: str, runtime: str, environments: Path, kept: Path | None = None, *,
           cold: bool = True) -> list[Events]:
    """The events of one call of each (name, file), in order, on one thread of ``core`` ("a53", "a72", "a76").

    ``runtime``: "litert" for .tflite, "onnxruntime" for .onnx. ``environments``: the folder of ``tools/environments.py``; the emulator is
    made in it if need be. ``kept``: a folder of results, so that a run that was stopped goes on where it was. ``cold``: caches hold the
    inputs and nothing else before the call (an operation inside a large network); without, what the call before left (a network run
    again and again).

    Raises ``NotCountedError`` where a runtime refuses a file, after all others are counted; ``PluginError`` without gcc or setarch;
    ``DeviceError`` where the emulator can't be made.
    """
    done: dict[str, Events | str] = {}
    keys = [_key(data, core, runtime, cold) for _, data in files]
    for key in keys:
        if kept is not None and (kept / f"{key}.json").exists():
            read = json.loads((kept / f"{key}.json").read_text(encoding="utf-8"))
            done[key] = read["refused"] if "refused" in read else Events(**{f.name: read[f.name] for f in fields(Events)})
    left = {key: data for key, (_, data) in zip(keys, files, strict=True) if key not in done}
    names = {key: name for key, (name, _) in zip(keys, files, strict=True)}
    for key, found in _count(left, core, runtime, environments / "arm64", cold) if left else ():
        done[key] = found
        if kept is not None:
            kept.mkdir(parents=True, exist_ok=True)
            text = {"refused": found} if isinstance(found, str) else asdict(found)
            part = kept / f"{key}.{os.getpid()}.part"
            part.write_text(json.dumps({"name": names[key], "core": core, "runtime": runtime, "cold": cold, **text}), encoding="utf-8")
            part.replace(kept / f"{key}.json")
    results = [done[key] for key in keys]
    if any(isinstance(r, str) for r in results):
        raise NotCountedError({name: r for (name, _), r in zip(files, results, strict=True) if isinstance(r, str)})
    return [r for r in results if isinstance(r, Events)]


def _key(data: bytes, core: str, runtime: str, cold: bool) -> str:
    """All that a result depends on. How the guest is started and what it sees moves memory, and ONNX Runtime's counts by 0.1 to 1 %."""
    parts = [hashlib.sha256(data).hexdigest(), core, runtime, str(cold), *WHEELS, _emulator(), digest(), _sources()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@cache
def _sources() -> str:
    return "".join(hashlib.sha256(file.read_bytes()).hexdigest() for file in (GUEST, Path(__file__), Path(sysroot.__file__)))


@cache
def _emulator() -> str:
    return subprocess.run([qemu(), "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]


@cache
def warming(runtime: str) -> bytes:
    """A small file that the process runs before it forks: the emulator then need not translate the runtime anew for each file."""
    import torch
    from torch import nn

    from edgelr.export import onnx_bytes, tflite_bytes
    from edgelr.graph import capture
    from edgelr.quantization import quantize

    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)]
    model = nn.Sequential(*layers)
    graph = capture(model.eval(), (3, 8, 8))
    grids = quantize(graph, dict.fromkeys(graph.shapes, (-4.0, 4.0)))
    return tflite_bytes(grids) if runtime == "litert" else onnx_bytes(grids)


def _count(left: Mapping[str, bytes], core: str, runtime: str, emulator: Path, cold: bool) -> Iterator[tuple[str, Events | str]]:
    """Each file's events or refusal by its key, as it is counted."""
    prepare(emulator, print)
    with tempfile.TemporaryDirectory(prefix="edgelr-") as name:
        work = Path(name)
        view(emulator, core, work / "root")
        job, guest, out = work / "root" / "job", work / "root" / "guest", work / "counts"  # folders, not links: their paths would be seen
        job.mkdir()
        guest.mkdir()  # of its own: Python reads the names of all that lies beside a program
        out.touch()
        (guest / "guest.py").write_bytes(GUEST.read_bytes())
        (job / "warm").write_bytes(warming(runtime))
        for number, data in enumerate(left.values(), _FIRST):
            (job / str(number)).write_bytes(data)
        plugin = build(Path(tempfile.gettempdir()) / "edgelr-armcount")
        options = ["-R", _ADDRESSES, "-seed", "1", *arguments(plugin, out, CORES[core].caches)]
        start = command(emulator, core, work / "root", {"PYTHONHASHSEED": "0"}, options, f"/proc/self/fd/{_PYTHON_FD}")
        argv = ["setarch", "-R", *start, "/guest/guest.py", runtime, "cold" if cold else "warm", str(_FIRST), str(_FIRST + len(left))]
        counted, keys = 1, list(left)  # the first region is the warming's
        for number, status in _statuses(argv, python(emulator)):
            regions = out.read_text(encoding="ascii").splitlines()
            if status:
                why = job / f"{number}.txt"
                yield keys[number - _FIRST], why.read_text(encoding="utf-8") if why.exists() else f"its process ended with {status}"
            else:
                counted += 1
                if len(regions) < counted:
                    raise PluginError(f"{len(regions)} regions after {counted} files")
                yield keys[number - _FIRST], Events(*map(int, regions[counted - 1].split()))  # the next may be counted already


def _statuses(argv: Sequence[str], interpreter: Path) -> Iterator[tuple[int, int]]:
    opened = os.open(interpreter, os.O_RDONLY)
    os.dup2(opened, _PYTHON_FD)
    os.close(opened)
    with tempfile.TemporaryFile() as said:
        try:
            child = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=said, text=True, env={}, cwd="/", pass_fds=(_PYTHON_FD,))
        except FileNotFoundError as error:
            raise PluginError(f"{error.filename} is not installed") from error
        finally:
            os.close(_PYTHON_FD)
        try:
            assert child.stdout
            for line in child.stdout:
                number, status = map(int, line.split())
                yield number, status
            if child.wait():
                said.seek(0)
                why = said.read()[-500:].decode(errors="replace").strip()
                raise PluginError(f"the emulated process ended with {child.returncode}: {why}")
        finally:
            child.kill()
            child.communicate()


def table(rows: Iterable[tuple[str, Events]]) -> str:
    """Names and events in columns, for the terminal."""
    named = [f.name for f in fields(Events)]
    return "\n".join("\t".join(str(v) for v in line) for line in [("file", *named), *((name, *asdict(e).values()) for name, e in rows)])


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("files", nargs="+", type=Path)
    options.add_argument("--environments", type=Path, required=True)
    options.add_argument("--core", choices=sorted(CORES), default="a72")
    options.add_argument("--warm", action="store_true", help="leave the call before in the caches")
    chosen = options.parse_args()
    for runtime, extension in EXTENSION.items():
        files = [(p.name, p.read_bytes()) for p in chosen.files if p.suffix == f".{extension}"]
        if files:
            found = events(files, chosen.core, runtime, chosen.environments, cold=not chosen.warm)
            print(table((name, e) for (name, _), e in zip(files, found, strict=True)))


if __name__ == "__main__":
    main()
