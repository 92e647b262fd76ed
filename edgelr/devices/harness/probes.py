"""What a measurement depends on: clock, governor, heat, throttling, load. Each may be absent, and all are bounded in time."""
from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

PROBE_SECONDS = 4.0  # for all probes together: a reader that hangs is left behind
_PLACES = ("/usr/bin", "/opt/vc/bin", "/system/bin")
_HEAT = ("cpu", "soc", "pkg", "big", "mid", "little", "tsens")  # zones that heat the processor; others are batteries, skin, modems


def probe(when: str, root: str = "/") -> dict[str, Any]:
    """Governor, clock, temperature, throttle bits and load as they are now; what can't be read is left out.

    From cpufreq, thermal zones and a Raspberry Pi's ``vcgencmd``, which knows the clock that the firmware really gives. ``root`` is
    where /sys and /proc are.
    """
    found: dict[str, Any] = {"when": when}
    reader = threading.Thread(target=_read_all, args=(Path(root), found), daemon=True)
    reader.start()
    reader.join(PROBE_SECONDS)
    return dict(found)


def _read_all(root: Path, found: dict[str, Any]) -> None:
    for read in (_clock, _heat, _throttled, _firmware):
        with contextlib.suppress(OSError, ValueError):
            read(root, found)


def _clock(root: Path, found: dict[str, Any]) -> None:
    folders = [root / f"sys/devices/system/cpu/cpu{n}/cpufreq" for n in allowed()]
    clocks, governors = numbers(f / "scaling_cur_freq" for f in folders), {text(f / "scaling_governor") for f in folders} - {""}
    if clocks:
        found["clock_mhz"] = max(clocks) / 1e3
    if governors:
        found["governor"] = " ".join(sorted(governors))
    found["load"] = float(text(root / "proc/loadavg").split(" ")[0])


def _heat(root: Path, found: dict[str, Any]) -> None:
    zones = {zone: text(zone / "type").lower() for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*"))}
    hot = [zone for zone, kind in zones.items() if any(word in kind for word in _HEAT)] or list(zones)
    degrees = [n / 1e3 for n in numbers(zone / "temp" for zone in hot) if 0 < n < 150e3]
    if degrees:
        found["temperature_c"] = max(degrees)


def _throttled(root: Path, found: dict[str, Any]) -> None:
    bits = text(root / "sys/devices/platform/soc/soc:firmware/get_throttled")
    if bits:
        found["throttled"] = int(bits, 16)


def _firmware(root: Path, found: dict[str, Any]) -> None:
    clock = re.match(r"frequency\(\d+\)=(\d+)", asked("vcgencmd", "measure_clock", "arm"))
    heat = re.match(r"temp=(\d+\.?\d*)", asked("vcgencmd", "measure_temp"))
    bits = re.match(r"throttled=(0x[0-9a-fA-F]+)", asked("vcgencmd", "get_throttled"))
    if clock:
        found["clock_mhz"] = float(clock[1]) / 1e6
    if heat:
        found["temperature_c"] = float(heat[1])
    if bits:
        found["throttled"] = int(bits[1], 16)


def allowed() -> list[int]:
    """The processors that this process may run on."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def text(path: Path) -> str:
    """A small file's text; "" if it can't be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0\n ")[:1_000_000]
    except OSError:
        return ""


def numbers(paths: Iterable[Path]) -> list[float]:
    """The numbers that files hold; those that hold none are left out."""
    return [float(value) for value in map(text, paths) if value.lstrip("-").isdigit()]


def asked(*command: str) -> str:
    """What a command prints; "" if it isn't there, fails or takes longer than a second."""
    program = shutil.which(command[0], path=os.pathsep.join((os.environ.get("PATH", os.defpath), *_PLACES)))
    if not program:
        return ""
    try:
        done = subprocess.run([program, *command[1:]], capture_output=True, timeout=1, stdin=subprocess.DEVNULL)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout[:2000].decode("utf-8", "replace").strip() if done.returncode == 0 else ""
