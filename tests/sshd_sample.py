"""A real sshd on loopback, as the user who runs the tests, with keys, configuration and a client configuration of its own."""
from __future__ import annotations

import getpass
import os
import shutil
import signal
import subprocess
from pathlib import Path

from endpoint_sample import Endpoint, answers, free_port, needs, wait_for

# SHLVL: with 2 there, bash doesn't read the user's own .bashrc, which is no part of a test.
DAEMON = """
Port {port}
ListenAddress 127.0.0.1
HostKey {root}/host_key
AuthorizedKeysFile {root}/id.pub
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
LogLevel VERBOSE
ForceCommand {root}/wrapper
SetEnv SHLVL=2
"""
CLIENT = """
Host *
    UserKnownHostsFile {root}/known_hosts
    GlobalKnownHostsFile /dev/null
    IdentityFile {root}/id
    IdentitiesOnly yes
    IdentityAgent none
"""


class Sshd(Endpoint):
    """Its host key is among the known hosts until a test says otherwise."""

    kind = "ssh"

    def __init__(self, root: Path) -> None:
        os.environ["PATH"] += ":/usr/sbin"
        needs("ssh", "sshd", "ssh-keygen")
        super().__init__(root)
        self.port = free_port()
        self.address = f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}"
        self.config = root / "ssh_config"
        self.config.write_text(CLIENT.format(root=root))
        self.new_key("id")
        self.new_key("host_key")
        self.know()
        self.log = root / "log"
        (root / "sshd_config").write_text(DAEMON.format(root=root, port=self.port))
        if os.geteuid() == 0:  # where sshd, started by root, locks up the process that talks to strangers
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        sshd = shutil.which("sshd") or ""
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sshd, "-D", "-e", "-f", str(root / "sshd_config")], stdin=subprocess.DEVNULL, stderr=log, start_new_session=True
            )
        try:
            wait_for(lambda: answers(self.port))
        except BaseException:
            self.stop()
            raise

    def new_key(self, name: str) -> None:
        for file in (self.root / name, self.root / f"{name}.pub"):
            file.unlink(missing_ok=True)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(self.root / name)], check=True)

    def know(self, key: str = "", mark: str = "") -> None:
        """Write the known hosts: the daemon's own key, or another one, with a mark such as @revoked."""
        words = (key or (self.root / "host_key.pub").read_text()).split()[:2]
        (self.root / "known_hosts").write_text(f"{mark} [127.0.0.1]:{self.port} {' '.join(words)}\n".lstrip())

    def fingerprint(self) -> str:
        done = subprocess.run(["ssh-keygen", "-lf", str(self.root / "host_key.pub")], check=True, capture_output=True, text=True)
        return done.stdout.split()[1]

    def cut(self) -> None:
        for child in _children(self._process.pid):
            _kill(child)

    def stop(self) -> None:
        for process in (*_children(self._process.pid), self._process.pid):
            _kill(process)
        self._process.wait()


def _kill(process: int) -> None:
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        return


def _children(parent: int) -> list[int]:
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = file.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent:
            found += [*_children(int(file.parent.name)), int(file.parent.name)] if _is_sshd(file.parent) else []
    return found


def _is_sshd(folder: Path) -> bool:
    """What a session runs is left alone: it must end because its link ended."""
    try:
        return (folder / "comm").read_text().startswith("sshd")
    except OSError:
        return False
