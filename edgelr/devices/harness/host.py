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


def host(root: str = "/") -> dict[str, Any]:
    """What this device is: board, processors, instruction sets, memory, system, and the versions of the runtimes."""
    top, cpus = Path(root), []
    blocks = [dict(line.split(":", 1) for line in b.splitlines() if ":" in line) for b in _text(top / "proc/cpuinfo").split("\n\n")]
    entries = [{key.strip().lower(): value.strip() for key, value in block.items()} for block in blocks]
    for entry in (e for e in entries if e.get("processor", "").isdigit()):
        folder = top / f"sys/devices/system/cpu/cpu{entry['processor']}"
        khz, capacity = _numbers([folder / "cpufreq/cpuinfo_max_freq"]), _numbers([folder / "cpu_capacity"])
        names = {"implementer": entry.get("cpu implementer", ""), "part": entry.get("cpu part", ""), "model": entry.get("model name", "")}
        cpus.append({"cpu": int(entry["processor"]), **names, "max_mhz": max(khz, default=0) / 1e3, "capacity": max(capacity, default=0)})
    flags = next((e[key] for e in entries for key in ("features", "flags") if key in e), "")
    board = _text(top / "proc/device-tree/model") or _asked("getprop", "ro.product.model")
    memory = [int(line.split()[1]) * 1024 for line in _text(top / "proc/meminfo").splitlines() if line.startswith("MemTotal:")]
    runtimes = {}
    for runtime, packages in _PACKAGES.items():
        for package in reversed(packages):
            try:
                runtimes[runtime] = [package, metadata.version(package)]
            except metadata.PackageNotFoundError:
                continue
    return {
        "board": board, "cpus": cpus[:1024], "flags": flags.split(), "memory_bytes": sum(memory), "machine": platform.machine(),
        "system": f"{platform.system()} {platform.release()}", "python": platform.python_version(), "runtimes": runtimes,
    }  # fmt: skip


def pin(cpus: Any, threads: int, root: str = "/") -> list[int]:
    """Keep to these processors, or for "big" to the fastest that are enough for the threads. Gives those it may then run on."""
    if cpus == "big":
        known = {c["cpu"]: c for c in host(root)["cpus"] if c["cpu"] in allowed()}
        key = "capacity" if any(c["capacity"] for c in known.values()) else "max_mhz"
        speeds = sorted((c[key] for c in known.values()), reverse=True)
        least = min(0.9 * speeds[0], speeds[min(threads, len(speeds)) - 1]) if speeds else 0
        cpus = [n for n, c in known.items() if c[key] >= least]
    if cpus and hasattr(os, "sched_setaffinity"):
        try:
            os.sched_setaffinity(0, cpus)
        except (OSError, ValueError):
            pass
    return allowed()
