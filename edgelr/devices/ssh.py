"""A device behind ssh, through the user's own OpenSSH: its configuration, its keys, its known hosts, and one shared connection."""
from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from edgelr.devices.leftovers import PREFIX, is_dead, session_prefix
from edgelr.devices.shell import ShellTransport
from edgelr.devices.ssh_address import parse_ssh_address
from edgelr.devices.ssh_keys import accepted_key, refusal
from edgelr.errors import DeviceError

CONNECT_S = 15
ALIVE_S, ALIVE_COUNT = 15, 4  # a link that answers nothing for a minute is lost
PERSIST_S = 60  # how long the shared connection outlives its last command, should we be killed
# The command line goes before the user's configuration: there, none of these can be weakened.
_SAFE = (
    "BatchMode=yes", "StrictHostKeyChecking=yes", "NoHostAuthenticationForLocalhost=no", "VerifyHostKeyDNS=no", "UpdateHostKeys=no",
    f"ConnectTimeout={CONNECT_S}", "ConnectionAttempts=1", f"ServerAliveInterval={ALIVE_S}", f"ServerAliveCountMax={ALIVE_COUNT}",
    "ForwardAgent=no", "ForwardX11=no", "ClearAllForwardings=yes", "PermitLocalCommand=no", "Tunnel=no", "RequestTTY=no",
    "RemoteCommand=none", "EscapeChar=none", "LogLevel=ERROR",
)  # fmt: skip


class SshTransport(ShellTransport):
    """``ssh://[user@]host[:port][?python=/path&host-key=SHA256:…]``. Connects when made.

    $EDGELR_SSH_CONFIG names another configuration file than the user's. Raises ``DeviceError`` where the host key is unknown, changed or
    revoked (nothing is sent then), or the device can't be reached.
    """

    def __init__(self, address: str) -> None:
        self._ssh = parse_ssh_address(address)
        super().__init__(address, self._ssh.python)
        if shutil.which("ssh") is None:
            raise DeviceError("There is no ssh on this machine.", try_="install OpenSSH's client (Debian: apt install openssh-client).")
        self._private = _private_folder()
        self._options: list[str] = []
        try:
            self._options = self._known_hosts_options()
            self._connect()
        except BaseException:
            self._disconnect()
            raise

    @property
    def name(self) -> str:
        return self._ssh.name

    def _client(self, line: str) -> list[str]:
        if not self._socket.exists():  # it ended while nothing was to be done
            self._connect()
        return [*self._command("ControlMaster=no"), "--", self._ssh.host, line]

    @property
    def _socket(self) -> Path:
        return self._private / "s"

    def _command(self, *more: str) -> list[str]:
        config = os.environ.get("EDGELR_SSH_CONFIG")
        user = ["-l", self._ssh.user] if self._ssh.user else []
        port = ["-p", str(self._ssh.port)] if self._ssh.port else []
        options = [*_SAFE, f"ControlPath={self._socket}", f"ControlPersist={PERSIST_S}", *self._options, *more]
        return ["ssh", *(["-F", config] if config else []), "-T", "-a", "-x", *user, *port, *(w for o in options for w in ("-o", o))]

    def _connect(self) -> None:
        """Open the shared connection: ssh goes to the background once it is let in."""
        argv = [*self._command("ControlMaster=yes"), "-N", "--", self._ssh.host]
        # Its stderr goes to a file: a pipe would be held open by what stays in the background.
        said = self._private / "said"
        with said.open("wb") as err:
            try:
                code = subprocess.run(  # noqa: S603 (a list; all words of it were checked)
                    argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=err, timeout=4 * CONNECT_S, check=False
                ).returncode
            except subprocess.TimeoutExpired:
                raise DeviceError(f"{self.name} can't be reached.", f"no connection within {4 * CONNECT_S} s.") from None
        if code:
            raise refusal(self._ssh, said.read_bytes()[:100_000])

    def _known_hosts_options(self) -> list[str]:
        """None, unless the user named a fingerprint: then the key that has it goes before the user's own files, which stay as they are."""
        if not self._ssh.host_key:
            return []
        done = subprocess.run(  # noqa: S603 (as above)
            [*self._command(), "-G", "--", self._ssh.host], stdin=subprocess.DEVNULL, capture_output=True, timeout=CONNECT_S, check=False
        )
        words = (line.partition(" ") for line in done.stdout.decode("utf-8", "replace").splitlines())
        settings = {key: value for key, _, value in words}
        file = self._private / "known_hosts"
        file.write_text(accepted_key(self._ssh, settings), encoding="ascii")
        return [f"UserKnownHostsFile={file} {settings.get('userknownhostsfile', '')}"]

    def _disconnect(self) -> None:
        if self._socket.exists():
            argv = [*self._command("ControlMaster=no"), "-O", "exit", "--", self._ssh.host]
            with suppress(subprocess.TimeoutExpired):  # it ends by itself after PERSIST_S
                subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=5, check=False)  # noqa: S603 (as above)
        shutil.rmtree(self._private, ignore_errors=True)


def _private_folder() -> Path:
    """A folder of ours alone for the connection's socket. Its path is short: a socket's path has at most 104 characters."""
    base = Path(tempfile.gettempdir())
    if not re.fullmatch(r"[A-Za-z0-9_./-]{1,50}", str(base)):
        base = Path("/tmp")  # noqa: S108 (mkdtemp makes it private)
    for old in base.glob(f"{PREFIX}*"):
        if is_dead(old.name) and not old.is_symlink() and old.stat().st_uid == os.getuid():
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=session_prefix(), dir=base))
