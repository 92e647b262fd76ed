"""The address of a device behind ssh: what it may say. Each part is checked before it comes near a command line."""
from __future__ import annotations

import re
from dataclasses import dataclass

from edgelr.devices.quoting import check_python, shown, split_address
from edgelr.errors import UsageError

_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}\$?")
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}")
_HOST_V6 = re.compile(r"\[([0-9A-Fa-f:.]{2,45}(?:%[A-Za-z0-9_.-]{1,15})?)\]")
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")
_FORM = "ssh://user@host, ssh://user@host:port, with ?python=/path or ?host-key=SHA256:… at the end"


@dataclass(frozen=True)
class SshAddress:
    """A host (or an alias of the user's ssh configuration); 0 and "" where the address doesn't say and ssh decides."""

    host: str
    user: str = ""
    port: int = 0
    python: str = ""
    host_key: str = ""

    @property
    def name(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return "ssh://" + (f"{self.user}@" if self.user else "") + host + (f":{self.port}" if self.port else "")


def parse_ssh_address(address: str) -> SshAddress:
    """``ssh://[user@]host[:port][?python=…&host-key=SHA256:…]``. Raises ``UsageError``; a password in it is refused and never repeated."""
    body, options = split_address(address, frozenset({"python", "host-key"}))
    if not body.startswith("ssh://"):
        raise UsageError("The device's address can't be read.", "ssh is followed by '://'.", _FORM)
    user, at, place = body.removeprefix("ssh://").removesuffix("/").rpartition("@")
    if ":" in user:
        raise UsageError(
            "A password can't be given in a device's address.",
            "addresses are shown, logged and kept in reports.",
            "put your key there once: ssh-copy-id user@host; then leave the password out.",
        )
    if "/" in place:
        raise UsageError("The device's address can't be read.", "it names a path.", _FORM)
    host, port = _host_and_port(place)
    if (at and not _USER.fullmatch(user)) or not host:
        raise UsageError("The device's address can't be read.", f"'{shown(place, 60)}' is no host, or its user is no name.", _FORM)
    key = options.get("host-key", "").rstrip("=")
    if "host-key" in options and not _FINGERPRINT.fullmatch(key):
        raise UsageError("The device's address can't be read.", "'?host-key=' takes SHA256: and 43 characters, as ssh-keygen -l shows it.")
    return SshAddress(host, user, port, check_python(options.get("python", "")), key)


def _host_and_port(place: str) -> tuple[str, int]:
    """("", 0) where either is wrong."""
    if match := _HOST_V6.match(place):
        host, rest = match.group(1), place[match.end() :]
    else:
        host, colon, number = place.partition(":")
        rest = colon + number
    if not rest:
        port = 0
    elif re.fullmatch(r":[0-9]{1,5}", rest) and 1 <= int(rest[1:]) <= 65535:
        port = int(rest[1:])
    else:
        return "", 0
    return (host, port) if match or _HOST.fullmatch(host) else ("", 0)
