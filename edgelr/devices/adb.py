"""A phone behind adb, through the user's own client and the server that already runs."""
from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess

from edgelr.devices.quoting import check_python, last_line, shown, split_address
from edgelr.devices.shell import ShellTransport
from edgelr.errors import DeviceError, UsageError

CLIENT_S = 15
_SERIAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,99}")
_TERMUX = "/data/data/com.termux/files/usr/bin/python3"


class AdbTransport(ShellTransport):
    """``adb:SERIAL[?python=/path]``, the serial as ``adb devices`` shows it. Raises ``DeviceError`` where it isn't ready.

    The client would start a server where there is none, and end one of another version, without a word: both are refused instead.
    """

    base = "/data/local/tmp"
    pythons = ("/data/local/tmp/python/bin/python3", "python3", _TERMUX)

    def __init__(self, address: str) -> None:
        head, options = split_address(address, frozenset({"python"}))
        self._serial = head.removeprefix("adb:")
        if not head.startswith("adb:") or not _SERIAL.fullmatch(self._serial):
            raise UsageError(f"'{shown(self._serial, 60)}' is no serial of a device.", try_="adb devices shows them: adb:SERIAL")
        super().__init__(address, check_python(options.get("python", "")))
        if shutil.which("adb") is None:
            raise DeviceError("There is no adb on this machine.", try_="install it (Debian: apt install adb).")
        _check_server()
        self._check_device()

    @property
    def name(self) -> str:
        return f"adb:{self._serial}"

    def _client(self, line: str) -> list[str]:
        return ["adb", "-s", self._serial, "shell", "-T", "-e", "none", line]

    def _check_device(self) -> None:
        state, said = _adb("-s", self._serial, "get-state")
        if state != "device":
            reasons = {
                "unauthorized": ("it doesn't trust this computer yet.", "accept the question on its screen."),
                "offline": ("it is connected and doesn't answer.", "take the cable out and put it in again."),
                "no permissions": ("this user may not use the USB device.", "install android-sdk-platform-tools-common, log in again."),
                "not found": ("adb doesn't see it.", "'adb devices' must show it as 'device'; is USB debugging on?"),
            }
            for word, (why, try_) in reasons.items():
                if word in f"{state} {said}":
                    raise DeviceError(f"{self.name} isn't ready.", why, try_, detail=said)
            raise DeviceError(f"{self.name} isn't ready.", shown(said or state), "'adb devices' must show it as 'device'.", detail=said)
        features, _ = _adb("-s", self._serial, "features")
        if "shell_v2" not in features.split():
            raise DeviceError(f"{self.name} is too old.", "its shell doesn't tell a command's errors from its output (before Android 7).")


def _adb(*words: str) -> tuple[str, str]:
    """What the client prints, and what it complains of."""
    try:
        done = subprocess.run(  # noqa: S603 (a list; the serial was checked)
            ["adb", *words], stdin=subprocess.DEVNULL, capture_output=True, timeout=CLIENT_S, check=False  # noqa: S607 (the user's own)
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DeviceError("adb doesn't answer.", f"{error}.", "adb kill-server, then adb devices.") from error
    return done.stdout.decode("utf-8", "replace").strip(), last_line(done.stderr)


def _check_server() -> None:
    """Whether a server of the client's own version listens where the client will look. Raises ``DeviceError``.

    Four hex digits of length, then a request or an answer (AOSP, adb/SERVICES.TXT: host:version).
    """
    if os.environ.get("ADB_SERVER_SOCKET"):  # the user says where it is: the client uses it as it finds it
        return
    port = os.environ.get("ANDROID_ADB_SERVER_PORT", "5037")
    place = (os.environ.get("ANDROID_ADB_SERVER_ADDRESS", "127.0.0.1"), int(port) if port.isdecimal() else 0)
    start = "adb devices   starts it, and shows what is attached."
    try:
        with socket.create_connection(place, CLIENT_S) as link:
            link.sendall(b"000chost:version")
            answer = b""
            while len(answer) < 12 and (data := link.recv(64)):
                answer += data
    except (OSError, OverflowError) as error:
        raise DeviceError("adb's server isn't running.", f"nothing answers at port {port}: {error}.", start) from error
    client = re.search(r"version \d+\.\d+\.(\d+)", _adb("version")[0])
    match = re.fullmatch(rb"OKAY0004([0-9a-f]{4})", answer)
    if match is None:
        raise DeviceError("adb's server isn't running.", f"something else answers at port {port}.", start)
    if client is None or int(client.group(1)) != int(match.group(1), 16):
        raise DeviceError(
            "adb's server is of another version than the client.",
            f"the server is version {int(match.group(1), 16)}, the client {client.group(1) if client else 'unknown'}.",
            "adb kill-server, then adb devices; if that helps only once, two adb programs are installed: keep one.",
        )
