"""Environments of their own for other runtimes and other processors, made once in a folder and found again there."""
from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from shutil import rmtree, which

from elsewhere import Place

LITERT, ORT, NUMPY = "ai-edge-litert==2.3.0", "onnxruntime==1.31.1", "numpy==2.4.6"
ARM_PLATFORMS = ("manylinux2014", "manylinux_2_17", "manylinux_2_27", "manylinux_2_28", "manylinux_2_34")
ARM_PACKAGES = ("python3.11", "libstdc++6", "libgomp1", "libatomic1")
# "CPU part", variant and features by which cpuinfo knows a core (Arm's technical reference manuals: MIDR_EL1): the runtimes choose their
# kernels by it, and QEMU's user mode would show them the machine's own /proc/cpuinfo.
CORES = {
    "a53": ("0xd03", "0x0", "fp asimd evtstrm crc32 cpuid"),
    "a72": ("0xd08", "0x0", "fp asimd evtstrm crc32 cpuid"),
    "a76": ("0xd0b", "0x4", "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"),
}


class AbsentError(Exception):
    """Something that an environment needs can't be had here."""


def virtual(folder: Path, name: str, *packages: str) -> Path:
    """The Python of a virtual environment with exactly these packages. Raises ``AbsentError`` where pip can't install them."""
    python, ready = folder / name / "bin" / "python", folder / name / ".ready"
    if not ready.exists() or ready.read_text(encoding="utf-8") != "\n".join(packages):
        _call([sys.executable, "-m", "venv", "--clear", str(folder / name)])
        _call([str(python), "-m", "pip", "install", "--quiet", *packages])
        ready.write_text("\n".join(packages), encoding="utf-8")
    return python


def old_board(folder: Path) -> Place:
    """tflite-runtime's last release, with the last NumPy that it works with."""
    return Place("tflite-runtime 2.14.0", [str(virtual(folder, "old", "tflite-runtime==2.14.0", "numpy==1.26.4"))], "tflite_runtime", "")


def tensorflow(folder: Path, delegated: bool = True) -> Place:
    """TensorFlow's interpreter: with XNNPACK as by default, or with its own kernels alone."""
    module = "tensorflow" if delegated else "tensorflow-undelegated"
    name = "TensorFlow 2.21.0" if delegated else "TensorFlow 2.21.0, no delegate"
    return Place(name, [str(virtual(folder, "tensorflow", "tensorflow-cpu==2.21.0"))], module, "")


def x86(model: str = "Haswell") -> Place:
    """This very environment on an emulated x86-64 processor. Raises ``AbsentError`` without ``qemu-x86_64``."""
    if which("qemu-x86_64") is None:
        raise AbsentError("qemu-x86_64 is not installed (Debian: qemu-user)")
    return Place(f"{model} (emulated)", ["qemu-x86_64", "-cpu", model, "-U", "OPENBLAS_CORETYPE", sys.executable])


def arm(folder: Path, core: str) -> Place:
    """An emulated Arm core with Debian's Python and the aarch64 wheels. Raises ``AbsentError`` where a part can't be had."""
    if which("qemu-aarch64") is None:
        raise AbsentError("qemu-aarch64 is not installed (Debian: qemu-user)")
    root, wheels, sysroot = folder / "arm64" / "root", folder / "arm64" / "wheels", folder / "arm64" / core
    if not (folder / "arm64" / ".ready").exists():
        rmtree(folder / "arm64", ignore_errors=True)
        _debian(folder / "arm64")
        chosen = [a for p in ARM_PLATFORMS for a in ("--platform", f"{p}_aarch64")]
        _call([sys.executable, "-m", "pip", "install", "--quiet", "--target", str(wheels), "--no-deps", "--only-binary=:all:",
               "--python-version", "3.11", "--implementation", "cp", *chosen, LITERT, ORT, NUMPY])
        (folder / "arm64" / ".ready").touch()
    _sysroot(root, sysroot, core)
    variables = {"PYTHONPATH": wheels, "PYTHONHOME": root / "usr", "LD_LIBRARY_PATH": root / "usr/lib/aarch64-linux-gnu"}
    return Place(f"Cortex-{core.upper()} (emulated)", [
        "qemu-aarch64", "-cpu", f"cortex-{core}", "-L", str(sysroot), "-U", "OPENBLAS_CORETYPE",
        *(a for name, value in variables.items() for a in ("-E", f"{name}={value}")), str(root / "usr/bin/python3.11")])


def _debian(folder: Path) -> None:
    """Unpack Debian's arm64 Python into ``folder``/root, with lists and downloads of its own beside it: nothing is installed."""
    if which("apt-get") is None or which("dpkg-deb") is None:
        raise AbsentError("Debian's packages can't be had here (apt-get, dpkg-deb)")
    state, cache, root = folder / "state", folder / "cache", folder / "root"
    for made in (state / "lists" / "partial", cache / "archives" / "partial", root):
        made.mkdir(parents=True)
    options = {"APT::Architecture": "arm64", "APT::Architectures": "arm64", "Dir::State": state, "Dir::State::status": "/dev/null",
               "Dir::Cache": cache, "Acquire::Languages": "none", "Debug::NoLocking": "1"}
    apt = ["apt-get", "-qq", *(a for name, value in options.items() for a in ("-o", f"{name}={value}"))]
    _call([*apt, "update"])
    _call([*apt, "install", "--yes", "--no-install-recommends", "--download-only", *ARM_PACKAGES])
    for package in sorted((cache / "archives").glob("*.deb")):
        _call(["dpkg-deb", "--extract", str(package), str(root)])


def _sysroot(root: Path, sysroot: Path, core: str) -> None:
    """A view of ``root`` whose /proc/cpuinfo and /sys name the core."""
    cpus, part = sysroot / "sys/devices/system/cpu", CORES[core]
    for made in (cpus, sysroot / "proc"):
        made.mkdir(parents=True, exist_ok=True)
    for name in ("bin", "etc", "lib", "usr"):
        if not (sysroot / name).exists():
            (sysroot / name).symlink_to(root / name)
    entries = [f"processor\t: {i}\nBogoMIPS\t: 108.00\nFeatures\t: {part[2]}\nCPU implementer\t: 0x41\nCPU architecture: 8\n"
               f"CPU variant\t: {part[1]}\nCPU part\t: {part[0]}\nCPU revision\t: 1\n" for i in range(4)]
    (sysroot / "proc" / "cpuinfo").write_text("\n".join(entries), encoding="ascii")
    for name in ("possible", "present"):
        (cpus / name).write_text("0-3\n", encoding="ascii")


def _call(command: list[str]) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=900)
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", "") or str(error)).strip().splitlines()[-1:]
        raise AbsentError(f"{Path(command[0]).name}: {' '.join(said)}") from error
