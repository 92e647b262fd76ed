"""Builds the counting plugin from ``armcount.c``, and the options that load it."""
from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path
from shutil import which

SOURCE = Path(__file__).with_name("armcount.c")


class PluginError(Exception):
    """The plugin can't be built or used here."""


def build(folder: Path) -> Path:
    """The plugin, built into ``folder`` once for each content of its source. Raises ``PluginError``."""
    built = folder / f"armcount-{digest()}.so"
    if not built.exists():
        if which("gcc") is None:
            raise PluginError("gcc is not installed")
        folder.mkdir(parents=True, exist_ok=True)
        part = built.with_suffix(".part")
        gcc = ["gcc", "-O2", "-Wall", "-Werror", "-fPIC", "-shared", "-o", str(part), str(SOURCE)]
        made = subprocess.run(gcc, capture_output=True, text=True, check=False)
        if made.returncode:
            raise PluginError(f"gcc: {made.stderr.strip()}")
        part.replace(built)
    return built


def digest() -> str:
    """What the counts depend on of the source."""
    return hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]


def arguments(plugin: Path, out: Path, caches: tuple[str, str, str]) -> list[str]:
    """QEMU's options that load the plugin. Raises ``PluginError`` where a path has a comma: QEMU would split it there."""
    if "," in f"{plugin}{out}":
        raise PluginError(f"QEMU's options can't name {out}")
    return ["-plugin", f"{plugin},out={out},{','.join(f'l{k}={size}' for k, size in enumerate(caches, 1))}"]
