"""An emulated Arm core as a device: the runtimes' aarch64 files with that core's kernels. It tells what they compute, never how fast."""
from __future__ import annotations

from collections.abc import Sequence

from edgelr.devices.local import LocalTransport
from edgelr.devices.quoting import shown, split_address
from edgelr.devices.sysroot import CORES, WHEELS, command, found, standing
from edgelr.errors import DeviceError, UsageError


class EmulatedTransport(LocalTransport):
    """``emulated:CORE``, with CORE one of ``sysroot.CORES``: Python runs under QEMU on this machine, in a folder of this machine.

    Raises ``UsageError`` for another core, ``DeviceError`` where the emulator isn't installed or its folder (``sysroot.prepare``) isn't
    made.
    """

    timed = False

    def __init__(self, address: str) -> None:
        head, _ = split_address(address, frozenset())
        scheme, _, core = head.partition(":")
        if scheme != "emulated" or core not in CORES:
            known = ", ".join(f"emulated:{name}" for name in CORES)
            raise UsageError(f"There is no emulated core '{shown(core, 40)}'.", f"QEMU and edgelr know {known}.", "name one of these.")
        self._core, self._emulator = core, found()
        super().__init__()
        self._address = address

    @property
    def name(self) -> str:
        return f"the emulated Cortex-{self._core.upper()}"

    def python(self, modules: Sequence[str]) -> list[str]:
        missing = [module for module in modules if not (self._emulator / "wheels" / module).is_dir()]
        if missing:
            raise DeviceError(f"Python on {self.name} lacks {', '.join(missing)}.", f"it has {', '.join(WHEELS)}.")
        return command(self._emulator, self._core, standing(self._emulator, self._core))
