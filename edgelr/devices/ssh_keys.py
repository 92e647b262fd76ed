"""Host keys: what is said when ssh refuses one, and a key that the user accepts by its fingerprint, for one session."""
from __future__ import annotations

import base64
import binascii
import hashlib
import subprocess

from edgelr.devices.quoting import last_line, shown
from edgelr.devices.ssh_address import SshAddress
from edgelr.errors import DeviceError

KEYSCAN_S = 15


def refusal(address: SshAddress, err: bytes) -> DeviceError:
    """What to raise when ssh didn't connect, from what it said."""
    text = err.decode("utf-8", "replace")
    name, detail = address.name, shown(text, 4000)
    port = f"-p {address.port} " if address.port else ""
    user = f"{address.user}@{address.host}" if address.user else address.host
    look = (
        f"ssh-keyscan {port}{address.host} | ssh-keygen -lf -   shows the key; compare it with what the device itself shows: "
        "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub"
    )
    accept = f"if they are equal: ssh {port}{user} adds it, or give it here: {name}?host-key=SHA256:…"
    if "REVOKED HOST KEY" in text or "revoked by file" in text:
        return DeviceError(
            f"REVOKED: the host key of {name} was revoked. Nothing was sent.",
            "your known hosts say that nobody may trust this key any more.",
            "give the device a new host key; don't accept this one.",
            detail=detail,
        )
    if "HOST IDENTIFICATION HAS CHANGED" in text:
        return DeviceError(
            f"CHANGED: {name} shows another host key than it did before. Nothing was sent.",
            "either it was installed anew, or something else answers in its place.",
            f"{look}\n  only if they are equal: ssh-keygen -R {_known_as(address)} forgets the old key; {accept}",
            detail=detail,
        )
    if "host key is known for" in text or "Host key verification failed" in text:
        return DeviceError(
            f"UNKNOWN: the host key of {name} isn't among your known hosts. Nothing was sent.",
            "keys are never added silently.",
            f"{look}\n  {accept}",
            detail=detail,
        )
    if "Permission denied" in text or "Too many authentication failures" in text:
        return DeviceError(
            f"{name} doesn't let you in.",
            "it accepts none of your keys, and no password is ever asked for.",
            f"ssh-copy-id {port}{user}; then 'ssh {port}{user} true' must work without a question.",
            detail=detail,
        )
    tried = f"'ssh {port}{user} true' must work without a question."
    return DeviceError(f"{name} can't be reached.", last_line(err) or "ssh ended and didn't say why.", tried, detail=detail)


def accepted_key(address: SshAddress, settings: dict[str, str]) -> str:
    """The line for a known-hosts file of the key whose fingerprint the user named; ``settings``: what ``ssh -G`` says of the host.

    Only key exchange takes place. Raises ``DeviceError`` where the device shows no such key.
    """
    if settings.get("proxyjump", "none") != "none" or settings.get("proxycommand", "none") != "none":
        raise DeviceError(
            f"The host key of {address.name} can't be fetched.",
            "your ssh configuration reaches it through another host.",
            "connect once with ssh, which shows the fingerprint and adds the key; then leave ?host-key= out.",
        )
    host, port = settings.get("hostname", address.host), settings.get("port", str(address.port or 22))
    argv = ["ssh-keyscan", "-T", "10", "-p", port, "--", host]
    try:
        done = subprocess.run(argv, capture_output=True, stdin=subprocess.DEVNULL, timeout=KEYSCAN_S, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DeviceError(f"The host key of {address.name} can't be fetched.", f"ssh-keyscan: {error}.") from error
    seen = []
    for line in done.stdout.decode("ascii", "replace").splitlines():
        words = line.split()
        if line.startswith("#") or len(words) < 3:
            continue
        seen.append(fingerprint(words[2]))
        if seen[-1] == address.host_key:
            alias = settings.get("hostkeyalias", "none")
            known_as = alias if alias != "none" else host if port == "22" else f"[{host}]:{port}"
            return f"{known_as} {words[1]} {words[2]}\n"
    if not seen:
        raise DeviceError(f"{address.name} can't be reached.", last_line(done.stderr) or "it shows no host key.", "see that it is on.")
    raise DeviceError(
        f"WRONG KEY: {address.name} doesn't show the host key that you named. Nothing was sent.",
        f"it shows {', '.join(seen)}; you named {address.host_key}.",
        "compare with what the device itself shows: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub",
    )


def fingerprint(key: str) -> str:
    """``SHA256:…`` of a public key in base64, as ssh-keygen shows it (RFC 4648 base64 without padding); "" where it isn't base64."""
    try:
        blob = base64.b64decode(key, validate=True)
    except (binascii.Error, ValueError):
        return ""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def _known_as(address: SshAddress) -> str:
    return f"'[{address.host}]:{address.port}'" if address.port not in (0, 22) else address.host
