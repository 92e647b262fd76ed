"""From how the user names a device to the way there."""
from __future__ import annotations

from edgelr.devices.adb import AdbTransport
from edgelr.devices.local import LocalTransport
from edgelr.devices.quoting import shown
from edgelr.devices.ssh import SshTransport
from edgelr.devices.transport import Transport
from edgelr.errors import UsageError


def open_transport(address: str) -> Transport:
    """Connect to ``local``, ``ssh://[user@]host[:port]``, ``adb:SERIAL`` or ``emulated:CORE``; ``?python=/path`` may follow each.

    The caller closes what it gets. Raises ``UsageError`` for an address that can't be read, ``DeviceError`` for a device that can't be
    reached or whose host key isn't known.
    """
    scheme = address.partition("?")[0].partition(":")[0]
    if scheme == "local":
        return LocalTransport(address)
    if scheme == "ssh":
        return SshTransport(address)
    if scheme == "adb":
        return AdbTransport(address)
    if scheme == "emulated":
        from edgelr.devices.emulated import EmulatedTransport

        return EmulatedTransport(address)
    known = "local, ssh://user@host, adb:SERIAL, emulated:CORE"
    raise UsageError(f"'{shown(address.rpartition('@')[2], 60)}' is no address of a device.", f"known are: {known}.", "name one of these.")
