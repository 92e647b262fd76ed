"""Names of session folders, and which of them were left by sessions that are gone: a killed session can't clean up after itself."""
from __future__ import annotations

import hashlib
import os
import platform
import re
from functools import cache
from pathlib import Path

PREFIX = "edgelr."
OLD_MINUTES = 2 * 24 * 60  # no session writes nothing for two days; of other machines' sessions nothing else is known
# PREFIX, who (8 hex digits), process id, and what mktemp adds
NAME = re.compile(r"edgelr\.([0-9a-f]{8})\.([0-9]{1,10})\.[A-Za-z0-9_]{6,12}")


def session_prefix() -> str:
    """How folders of this process are named: who we are and which process, so that a later session knows whose they are."""
    return f"{PREFIX}{_who()}.{os.getpid()}."


def is_dead(name: str) -> bool:
    """Whether a folder of that name belongs to a process of this machine and user that has ended. False where that isn't known."""
    match = NAME.fullmatch(name)
    if match is None or match.group(1) != _who():
        return False
    try:
        os.kill(int(match.group(2)), 0)
    except ProcessLookupError:
        return True
    except (OverflowError, PermissionError):
        return False
    return False


@cache
def _who() -> str:
    """This machine, its boot, its space of process ids, and the user: a process id means nothing beyond these."""
    parts = [platform.node(), str(os.getuid())]
    for file in ("/proc/sys/kernel/random/boot_id", "/etc/machine-id"):
        try:
            parts.append(Path(file).read_text("ascii").strip())
        except (OSError, UnicodeDecodeError):
            continue
    try:
        parts.append(str(Path("/proc/self/ns/pid").stat().st_ino))
    except OSError:
        parts.append("")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]
