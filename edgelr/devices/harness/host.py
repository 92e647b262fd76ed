"""What a device is, and which of its processors to run on."""
from __future__ import annotations

import contextlib
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from .probes import allowed, asked, numbers, text

_PACKAGES = {"litert": ("ai-edge-litert", "tflite-runtime"), "onnxruntime": ("onnxruntime",)}
_MOST_CPUS, _MOST_SIGNS = 256, 32


def host(root: str = "/") -> dict[str, Any]:
    """Board, processors, instruction sets, memory, system, and the packages and versions of the runtimes."""
    entries = _cpuinfo(Path(root))
    flags = next((e[key] for e in entries for key in ("features", "flags") if key in e), "")
    memory = [int(line.split()[1]) << 10 for line in text(Path(root) / "proc/meminfo").splitlines() if line.startswith("MemTotal:")]
    return {
        "board": text(Path(root) / "proc/device-tree/model") or asked("getprop", "ro.product.model"),
        "signs": _signs(Path(root)),
        "cpus": [_cpu(Path(root), e) for e in entries if e.get("processor", "").isdigit()][:_MOST_CPUS],
        "flags": flags.split(),
        "memory_bytes": sum(memory),
        "machine": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "runtimes": {runtime: found for runtime, packages in _PACKAGES.items() for found in [_first(packages)] if found},
    }


def _signs(root: Path) -> list[str]:
    """What an emulator can be told by: the device tree's kinds and QEMU's own node in it, the firmware's tables, Android's properties."""
    tree, firmware = root / "proc/device-tree", root / "sys/class/dmi/id"
    signs = text(tree / "compatible").split("\0")
    signs += sorted(node.name for node in tree.glob("fw-cfg*"))
    signs.append(f"{text(firmware / 'sys_vendor')} {text(firmware / 'product_name')}".strip())
    signs += [name for name in ("ro.kernel.qemu", "ro.boot.qemu") if asked("getprop", name) == "1"]
    return [sign for sign in signs if sign][:_MOST_SIGNS]


def _cpuinfo(root: Path) -> list[dict[str, str]]:
    blocks = text(root / "proc/cpuinfo").split("\n\n")
    pairs = [[line.partition(":") for line in block.splitlines()] for block in blocks]
    return [{key.strip().lower(): value.strip() for key, _, value in block} for block in pairs]


def _cpu(root: Path, entry: dict[str, str]) -> dict[str, Any]:
    folder = root / f"sys/devices/system/cpu/cpu{entry['processor']}"
    return {
        "cpu": int(entry["processor"]),
        "implementer": entry.get("cpu implementer", ""),
        "part": entry.get("cpu part", ""),
        "model": entry.get("model name", ""),
        "max_mhz": max(numbers([folder / "cpufreq/cpuinfo_max_freq"]), default=0) / 1e3,
        "capacity": max(numbers([folder / "cpu_capacity"]), default=0),
    }


def _first(packages: tuple[str, ...]) -> list[str]:
    """The first of these packages that is installed, and its version; empty if none is."""
    for package in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):
            return [package, metadata.version(package)]
    return []


def pin(cpus: Any, threads: int, root: str = "/") -> list[int]:
    """Keep to these processors, or for "big" to the fastest that are enough for the threads. Gives those it may then run on."""
    if cpus == "big":
        known = [c for c in host(root)["cpus"] if c["cpu"] in allowed()]
        key = "capacity" if any(c["capacity"] for c in known) else "max_mhz"
        speeds = sorted((c[key] for c in known), reverse=True)
        # Cores within 10 % are of one kind: some phones clock one of the big ones a little higher.
        least = min(0.9 * speeds[0], speeds[min(threads, len(speeds)) - 1]) if speeds else 0
        cpus = [c["cpu"] for c in known if c[key] >= least]
    if cpus and hasattr(os, "sched_setaffinity"):
        with contextlib.suppress(OSError, ValueError):
            os.sched_setaffinity(0, cpus)
    return allowed()
