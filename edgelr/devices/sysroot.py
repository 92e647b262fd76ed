"""Emulated Arm cores: Debian's arm64 Python and the runtimes' aarch64 wheels in a folder, run by QEMU's user mode.

The folder is made by ``prepare`` and by nothing else; it downloads about 100 MB. Nothing is installed, no rights are needed.
"""
from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree, which

from edgelr.errors import DeviceError

WHEELS = ("ai-edge-litert==2.3.0", "onnxruntime==1.31.1", "numpy==2.4.6")
_PLATFORMS = ("manylinux2014", "manylinux_2_17", "manylinux_2_27", "manylinux_2_28", "manylinux_2_34")
_PACKAGES = ("python3", "libstdc++6", "libgomp1", "libatomic1")
_MARK = ".ready"
# Leaves the bytecode of what all later starts import beside its source, by its path here: QEMU leads to the view only what exists there.
_BYTECODE = """
import contextlib, hashlib, importlib.metadata, json, pathlib, platform, secrets, subprocess, sys, tempfile, zipfile
import ai_edge_litert.interpreter, numpy, onnxruntime
from importlib.util import cache_from_source
from py_compile import PycInvalidationMode, compile

for name in sorted(filter(None, (getattr(module, "__file__", None) for module in list(sys.modules.values())))):
    if name.endswith(".py"):
        source = sys.argv[1] + ("" if name.startswith("/wheels/") else "/root") + name
        compile(source, cache_from_source(source), name, doraise=True, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH)
"""
MAKE = "edgelr doctor --emulator FOLDER makes it (about 100 MB from Debian and PyPI); EDGELR_EMULATOR names one that was made before."

# Where modules are, one thread, and nothing that would be read from this machine: its locale, its time zone, its OpenSSL.
VARIABLES = {"PYTHONPATH": "/wheels", "PYTHONHOME": "/usr", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1",
              "ORT_DISABLE_TELEMETRY": "1", "PYTHONUTF8": "1", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C", "TZ": "UTC0",
              "OPENSSL_CONF": "/dev/null"}


@dataclass(frozen=True)
class Core:
    """What the runtimes know a core by when they choose their kernels: QEMU's user mode would show them this machine's.

    ``part``, ``variant``: fields of MIDR_EL1 (Arm's technical reference manuals); ``features``: the kernel's names of what it can do;
    ``clock_khz``; ``caches``: KiB x ways of L1D, L2 and L3 (0: none), of the board that the core is known by: Raspberry Pi 3 (A53), 4
    (A72) and 5 (A76).
    """

    part: str
    variant: str
    features: str
    clock_khz: int
    caches: tuple[str, str, str]


_OLD = "fp asimd evtstrm crc32 cpuid"
_NEW = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"
CORES: Mapping[str, Core] = {
    "a53": Core("0xd03", "0x0", _OLD, 1_400_000, ("32x4", "512x16", "0x1")),
    "a72": Core("0xd08", "0x0", _OLD, 1_800_000, ("32x2", "1024x16", "0x1")),
    "a76": Core("0xd0b", "0x4", _NEW, 2_400_000, ("64x4", "512x8", "2048x16")),
}


def found() -> Path:
    """The folder that ``prepare`` made: ``$EDGELR_EMULATOR``, or ``emulator`` in the user's data folder. Raises ``DeviceError``."""
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "edgelr"
    folder = Path(os.environ.get("EDGELR_EMULATOR") or Path(os.environ.get("EDGELR_HOME") or data) / "emulator")
    if not ready(folder):
        raise DeviceError(f"There is no emulator in {folder}.", "Debian's arm64 Python, which an emulated core runs, isn't there.", MAKE)
    return folder


def ready(folder: Path) -> bool:
    """Whether ``prepare`` has come to its end there, for the wheels of this version."""
    mark = folder / _MARK
    return mark.is_file() and mark.read_text(encoding="utf-8").split() == list(WHEELS)


def prepare(folder: Path, tell: Callable[[str], None] = lambda _: None) -> None:
    """Make ``folder`` hold what emulated cores need: ``root`` (Debian's arm64 Python) and ``wheels``. What is there already is kept.

    ``tell`` gets a line before each long step. Raises ``DeviceError`` where a part can't be had, or ``folder`` holds other things.
    """
    if ready(folder):
        return
    ours = {_MARK, "root", "wheels", "apt", *CORES}
    if folder.exists() and (not folder.is_dir() or {p.name for p in folder.iterdir()} - ours):
        raise DeviceError(f"{folder} holds other things.", "an emulator needs a folder of its own.", "name an empty or a new folder.")
    qemu()
    for name in ours:
        if (folder / name).is_dir():
            rmtree(folder / name)
    tell("Debian's arm64 Python: downloading and unpacking")
    unpack(folder / "apt", folder / "root", _PACKAGES)
    for name in ("ld.so.cache", "os-release"):  # not this machine's
        (folder / "root" / "etc" / name).touch()
    tell(f"wheels for aarch64: {', '.join(WHEELS)}")
    chosen = [a for p in _PLATFORMS for a in ("--platform", f"{p}_aarch64")]
    version = python(folder).name.removeprefix("python")
    _call([sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder / "wheels"), "--no-deps", "--no-compile",
           "--only-binary=:all:", "--python-version", version, "--implementation", "cp", *chosen, *WHEELS])
    tell("first start")
    _call([*command(folder, "a72", standing(folder, "a72")), "-c", _BYTECODE, str(folder.resolve())])
    rmtree(folder / "apt")
    (folder / _MARK).write_text("\n".join(WHEELS), encoding="utf-8")


def qemu() -> str:
    """The emulator's path. Raises ``DeviceError`` naming Debian's package."""
    path = which("qemu-aarch64") or which("qemu-aarch64-static")
    if path is None:
        raise DeviceError("qemu-aarch64 is not installed.", "it runs programs of Arm cores here.", "install Debian's package qemu-user.")
    return path


def python(folder: Path) -> Path:
    """The arm64 Python. Raises ``DeviceError`` where there is none."""
    found = sorted((folder / "root" / "usr" / "bin").glob("python3.[0-9]*"))
    if not found:
        raise DeviceError(f"{folder} has no Python.", "the folder isn't whole.", MAKE)
    return found[-1]


def view(folder: Path, core: str, at: Path) -> None:
    """Make ``at`` the root that a program on ``core`` sees: links into ``folder``, and /proc/cpuinfo and /sys that name the core."""
    known, root = CORES[core], folder.resolve() / "root"
    (at / "proc").mkdir(parents=True, exist_ok=True)
    for name, target in {**{name: root / name for name in ("bin", "etc", "lib", "usr")}, "wheels": folder.resolve() / "wheels"}.items():
        (at / name).unlink(missing_ok=True)
        (at / name).symlink_to(target)
    entries = [f"processor\t: {i}\nBogoMIPS\t: 108.00\nFeatures\t: {known.features}\nCPU implementer\t: 0x41\nCPU architecture: 8\n"
               f"CPU variant\t: {known.variant}\nCPU part\t: {known.part}\nCPU revision\t: 1\n" for i in range(4)]
    (at / "proc" / "cpuinfo").write_text("\n".join(entries), encoding="ascii")
    for name in ("proc/device-tree", "sys/bus/pci/devices", "sys/class/drm", "sys/class/accel"):  # no devices of this machine
        (at / name).mkdir(parents=True, exist_ok=True)
    (at / "proc" / "device-tree" / "model").write_text(f"emulated Cortex-{core.upper()}", encoding="ascii")
    for name, text in _system(known).items():
        path = at / "sys/devices/system/cpu" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n", encoding="ascii")


def standing(folder: Path, core: str) -> Path:
    """The view of ``core`` that is kept in ``folder``; made where there is none, or the folder has been moved."""
    at = folder / core
    if (at / "usr").resolve() != folder.resolve() / "root" / "usr":
        view(folder, core, at)
    return at


def _system(core: Core) -> dict[str, str]:
    """What /sys/devices/system/cpu says of a board of four cores, by path."""
    files = {"possible": "0-3", "present": "0-3", "online": "0-3", "kernel_max": "255"}
    for cpu in range(4):
        own = {"cpu_capacity": "1024", "topology/core_id": str(cpu), "topology/physical_package_id": "0", "topology/cluster_id": "0",
               "topology/core_siblings_list": "0-3", "topology/package_cpus_list": "0-3", "topology/cluster_cpus_list": "0-3",
               "topology/thread_siblings_list": str(cpu), "topology/core_cpus_list": str(cpu),
               "cpufreq/cpuinfo_max_freq": str(core.clock_khz), "cpufreq/cpuinfo_min_freq": "600000"}
        sizes = [size.split("x") for size in core.caches]
        for level, (kib, ways) in enumerate(sizes, 1):
            if kib != "0":
                index = f"cache/index{level if level > 1 else 0}"  # index1 is L1's instructions
                own |= {f"{index}/level": str(level), f"{index}/size": f"{kib}K", f"{index}/ways_of_associativity": ways,
                        f"{index}/coherency_line_size": "64", f"{index}/type": "Unified" if level > 1 else "Data",
                        f"{index}/shared_cpu_list": str(cpu) if level == 1 or (level == 2 and sizes[2][0] != "0") else "0-3"}
        files |= {f"cpu{cpu}/{name}": text for name, text in own.items()}
    return files


def command(folder: Path, core: str, at: Path, variables: Mapping[str, str] | None = None, options: Sequence[str] = (),
            program: str = "") -> list[str]:
    """The command that starts Python on an emulated ``core`` in the view ``at``; its arguments follow.

    ``variables`` are added to the environment there, ``options`` to QEMU's; ``program``: another path to the same Python. It looks for
    modules nowhere but in the view, and ONNX Runtime's wheel reports nothing to its makers.
    """
    given = [a for name, value in {**VARIABLES, **(variables or {})}.items() for a in ("-E", f"{name}={value}")]
    start = python(folder)
    return [qemu(), "-cpu", f"cortex-{core}", "-L", str(at), "-U", "OPENBLAS_CORETYPE", "-0", start.name, *given, *options,
            program or str(start), "-S", "-B"]


def unpack(work: Path, root: Path, packages: Sequence[str]) -> None:
    """Unpack Debian's arm64 packages and all they depend on into ``root``, with lists and downloads in ``work``."""
    if which("apt-get") is None or which("dpkg-deb") is None:
        raise DeviceError("Debian's packages can't be had here.", "apt-get or dpkg-deb is missing.", "make the folder on Debian.")
    state, cache = work / "state", work / "cache"
    for made in (state / "lists" / "partial", cache / "archives" / "partial", root):
        made.mkdir(parents=True)
    options = {"APT::Architecture": "arm64", "APT::Architectures": "arm64", "Dir::State": state.resolve(),
               "Dir::State::status": "/dev/null", "Dir::Cache": cache.resolve(), "Acquire::Languages": "none", "Debug::NoLocking": "1"}
    apt = ["apt-get", "-qq", *(a for name, value in options.items() for a in ("-o", f"{name}={value}"))]
    _call([*apt, "update"])
    _call([*apt, "install", "--yes", "--no-install-recommends", "--download-only", *packages])
    for package in sorted((cache / "archives").glob("*.deb")):
        _call(["dpkg-deb", "--extract", str(package), str(root)])


def _call(argv: list[str]) -> None:
    try:
        subprocess.run(argv, check=True, capture_output=True, text=True, timeout=900)  # noqa: S603 (lists, no shell)
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", "") or str(error)).strip()
        raise DeviceError("The emulator could not be made.", f"{Path(argv[0]).name}: {' '.join(said.splitlines()[-1:])}",
                          "see that Debian's and Python's package servers can be reached.", detail=said) from error
