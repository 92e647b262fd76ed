"""This machine: what it is, and sessions that run files on it."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from edgelr.devices.litert import LiteRTSession
from edgelr.devices.ort import OrtSession
from edgelr.devices.session import Session
from edgelr.devices.unsaturated import unsaturated
from edgelr.errors import UsageError

# Instruction sets that decide which int8 kernels a runtime picks.
_INT8_FLAGS = ("amx_int8", "avx512_vnni", "avx_vnni", "avx_vnni_int8", "avx512f", "avx2", "asimddp", "i8mm", "sve2", "sve")
_RUNTIMES = {"litert": "ai-edge-litert", "onnxruntime": "onnxruntime"}


def open_session(
    data: bytes,
    format: Literal["tflite", "onnx"],
    threads: int = 1,
    *,
    channels_last: bool = True,
    channels_last_output: bool | None = None,
    as_meant: bool = False,
) -> Session:
    """Load the bytes of a file into its runtime on this machine.

    ``channels_last``: a ``.tflite`` file whose input with channels is channels last; ``run`` still takes and gives [N, C, …].
    ``channels_last_output``: the same of its output, where it differs. An ``.onnx`` file is run as it is.
    ``as_meant``: it computes what it does on processors whose kernels don't saturate, also on one whose do (``saturates``); for outputs,
    not for times.
    Raises ``BadInputError`` if the runtime refuses the file.
    """
    if threads < 1:
        raise UsageError(f"A session can't run on {threads} threads.", try_="give 1 or more.")
    if format == "onnx":
        return OrtSession(meant(data) if as_meant else data, threads)
    return LiteRTSession(data, threads, channels_last=channels_last, channels_last_output=channels_last_output)


def describe_host() -> dict[str, Any]:
    """What a measurement on this machine depends on: CPU model, int8 instruction sets, cores, frequency governor, runtime versions.

    ``governor`` is "" where the system doesn't tell; a version is "" where the runtime isn't installed.
    """
    cpu = _cpuinfo()
    flags = set((cpu.get("flags") or cpu.get("Features") or "").split())
    return {
        "cpu": cpu.get("model name") or platform.processor() or platform.machine(),
        "machine": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "isa": [flag for flag in _INT8_FLAGS if flag in flags],
        "cores": os.cpu_count() or 1,
        "governor": _read(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")).strip(),
        "runtimes": {name: _version(package) for name, package in _RUNTIMES.items()},
    }


def saturates() -> bool:
    """Whether this processor's int8 kernels add two products in 16 bits: x86-64 without VNNI. ONNX Runtime then needs 7-bit weights.

    Measured under emulation (Haswell, onnxruntime 1.31.1): weights up to 64 give the outputs of a processor with VNNI, 65 does not.
    """
    return platform.machine().lower() in ("x86_64", "amd64") and not {"avx512_vnni", "avx_vnni", "amx_int8"} & set(describe_host()["isa"])


def meant(data: bytes) -> bytes:
    """An ``.onnx`` file to be run here for its outputs: what it computes on processors whose kernels don't saturate."""
    return unsaturated(data) if saturates() else data


def _cpuinfo() -> dict[str, str]:
    """The first processor's entries in /proc/cpuinfo; empty on systems without it."""
    first = _read(Path("/proc/cpuinfo")).split("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
