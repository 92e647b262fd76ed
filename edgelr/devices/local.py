"""This machine as a device: commands run as child processes, under the same rules as everywhere else."""
from __future__ import annotations

import os
import sys

from edgelr.devices.quoting import check_python, split_address
from edgelr.devices.shell import ShellTransport
from edgelr.errors import UsageError

LEAST_LIMIT_BYTES = 4 * 1024**3


class LocalTransport(ShellTransport):
    """``local`` or ``local?python=/path``: a child process with a session, a time limit and no core dumps of its own."""

    session = ""  # the child is already the head of its group, and its end ends the group
    pythons = (sys.executable,)

    def __init__(self, address: str = "local") -> None:
        head, options = split_address(address, frozenset({"python"}))
        if head != "local":
            raise UsageError("The device's address can't be read.", "this machine is called 'local'.")
        super().__init__(address, check_python(options.get("python", "")))

    @property
    def name(self) -> str:
        return "this machine"

    def _client(self, line: str) -> list[str]:
        return ["/bin/sh", "-c", f"ulimit -v {_memory_kib()} 2>/dev/null; {line}"]


def _memory_kib() -> int:
    """No command gets more address space than the machine has memory; never less than 4 GiB, since runtimes reserve more than they use."""
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        memory = 0
    return max(memory, LEAST_LIMIT_BYTES) // 1024
