"""What a measurement depends on: clock, governor, heat, throttling, load. Each may be absent, and all are bounded in time."""
from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

PROBE_SECONDS = 4.0  # for all probes together: a reader that hangs is left behind
_HEAT = ("cpu", "soc", "pkg", "big", "mid", "little", "tsens")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0\n ")[:20000]
    except OSError:
        return ""


def _numbers(paths: Iterable[Path]) -> list[float]:
    return [float(text) for text in map(_text, paths) if text.lstrip("-").isdigit()]


def _asked(*command: str) -> str:
    """What a command prints; "" if it isn't there, fails or takes long."""
    program = shutil.which(command[0], path=os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/bin", "/opt/vc/bin", "/system/bin")))
    try:
        done = subprocess.run([program, *command[1:]], capture_output=True, timeout=1, stdin=subprocess.DEVNULL) if program else None  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout[:2000].decode("utf-8", "replace").strip() if done and done.returncode == 0 else ""


def allowed() -> list[int]:
    """The processors that this process may run on."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def probe(when: str, root: str = "/") -> dict[str, Any]:
    """Governor, clock, temperature, throttle bits and load as they are now; what can't be read is left out."""
    found: dict[str, Any] = {"when": when}
    reader = threading.Thread(target=_probe, args=(Path(root), found), daemon=True)
    reader.start()
    reader.join(PROBE_SECONDS)
    return dict(found)


def _probe(root: Path, found: dict[str, Any]) -> None:
    folders = [root / f"sys/devices/system/cpu/cpu{n}/cpufreq" for n in allowed()]
    clocks, governors = _numbers(f / "scaling_cur_freq" for f in folders), {_text(f / "scaling_governor") for f in folders} - {""}
    found.update({"clock_mhz": max(clocks) / 1e3} if clocks else {}, **({"governor": " ".join(sorted(governors))} if governors else {}))
    zones = {zone: _text(zone / "type").lower() for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*"))}
    hot = [zone for zone, kind in zones.items() if any(word in kind for word in _HEAT)] or list(zones)
    heat = [n / 1e3 for n in _numbers(zone / "temp" for zone in hot) if 0 < n < 150e3]
    found.update({"temperature_c": max(heat)} if heat else {}, load=_text(root / "proc/loadavg").split(" ")[0])
    bits = _text(root / "sys/devices/platform/soc/soc:firmware/get_throttled")
    for key, command, pattern in (
        ("clock_mhz", ("measure_clock", "arm"), r"frequency\(\d+\)=(\d+)"),
        ("temperature_c", ("measure_temp",), r"temp=([\d.]+)"),
        ("throttled", ("get_throttled",), r"throttled=(0x[0-9a-fA-F]+)"),
    ):
        told = re.match(pattern, _asked("vcgencmd", *command))
        if told:
            found[key] = told[1] if key == "throttled" else float(told[1]) / (1e6 if key == "clock_mhz" else 1)
    if bits and "throttled" not in found:
        found["throttled"] = "0x" + bits[-8:]
