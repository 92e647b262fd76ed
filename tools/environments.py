"""Environments of their own for other runtimes and other processors, made once in a folder and found again there."""
from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from shutil import which

from elsewhere import Place

from edgelr.devices.sysroot import command, prepare, standing
from edgelr.errors import DeviceError


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
    emulator = folder / "arm64"
    try:
        prepare(emulator)
        return Place(f"Cortex-{core.upper()} (emulated)", command(emulator, core, standing(emulator, core)))
    except DeviceError as error:
        raise AbsentError(f"{error.what} {error.why}") from error


def _call(command: list[str]) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=900)
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", "") or str(error)).strip().splitlines()[-1:]
        raise AbsentError(f"{Path(command[0]).name}: {' '.join(said)}") from error
