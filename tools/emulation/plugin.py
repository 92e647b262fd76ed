"""Builds the counting plugin from ``armcount.c`` and names the caches that it models."""
from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Mapping
from pathlib import Path
from shutil import which

SOURCE = Path(__file__).with_name("armcount.c")
# KiB x ways of L1D, L2 and L3. Arm's technical reference manuals give the range of each core; sizes are those of the boards that such
# cores are known by: Raspberry Pi 3 and Zero 2 W (A53), 4 (A72), 5 (A76; its 2 MB of L3 are shared by four cores).
CACHES: Mapping[str, tuple[str, str, str]] = {
    "a53": ("32x4", "512x16", "0x1"),
    "a72": ("32x2", "1024x16", "0x1"),
    "a76": ("64x4", "512x8", "2048x16"),
}


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
        made = subprocess.run(["gcc", "-O2", "-Wall", "-Werror", "-fPIC", "-shared", "-o", str(part), str(SOURCE)], capture_output=True, text=True,
                              check=False)
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
