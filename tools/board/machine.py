"""An emulated board that runs: QEMU with its own memory and clock, reached only by ssh from this machine, with keys of its own."""
from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from shutil import copyfileobj, which
from types import TracebackType
from typing import Self

from cpio import Cpio
from image import USER

from edgelr.errors import DeviceError

CORES = ("cortex-a72", "cortex-a76", "cortex-a53")
MEMORY_MB = 2048
LIFE_S = 3600  # a board whose starter was killed ends by itself
_CLIENT = """Host *
    UserKnownHostsFile {folder}/known_hosts
    GlobalKnownHostsFile /dev/null
    IdentityFile {folder}/id
    IdentitiesOnly yes
    IdentityAgent none
"""


class Board:
    """Boots when made, from a folder that ``image.build`` made; ``stop`` ends it, and nothing of it is kept.

    ``address`` is for ``edgelr``'s targets (NAME@address), with ``EDGELR_SSH_CONFIG`` set to ``config``. Raises ``DeviceError`` where QEMU
    isn't installed, or sshd doesn't answer within ``seconds``.
    """

    def __init__(self, folder: Path, core: str = CORES[0], cpus: int = 1, seconds: float = 300.0) -> None:
        if which("qemu-system-aarch64") is None:
            raise DeviceError("qemu-system-aarch64 is not installed.", "it is the board.", "install Debian's package qemu-system-arm.")
        self._private = tempfile.TemporaryDirectory(prefix="edgelr-board-")
        self._own = Path(self._private.name)
        self._port = _free_port()
        self.address = f"ssh://{USER}@127.0.0.1:{self._port}"
        self.config = self._own / "ssh_config"
        self._keys(folder)
        with (self._own / "console").open("wb") as console:
            self._qemu = subprocess.Popen(
                self._command(folder, core, cpus),
                stdin=subprocess.DEVNULL, stdout=console, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        try:
            self._wait(seconds)
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """End it."""
        self._qemu.terminate()
        try:
            self._qemu.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self._qemu.pid, signal.SIGKILL)
            self._qemu.wait()
        self._private.cleanup()

    def console(self) -> str:
        """What the board has printed so far."""
        return (self._own / "console").read_text("utf-8", "replace")

    def _keys(self, folder: Path) -> None:
        """Keys for this boot alone: the board gets its own by a second archive behind its root."""
        for name in ("id", "host_key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "board", "-f", str(self._own / name)], check=True)
        public = " ".join((self._own / "host_key.pub").read_text().split()[:2])
        (self._own / "known_hosts").write_text(f"[127.0.0.1]:{self._port} {public}\n")
        self.config.write_text(_CLIENT.format(folder=self._own))
        with (self._own / "initrd").open("wb") as stream:
            with (folder / "root.cpio").open("rb") as root:
                copyfileobj(root, stream)
            keys = Cpio(stream)
            keys.text("etc/ssh/host_key", (self._own / "host_key").read_text(), 0o600)
            keys.text("etc/ssh/authorized_keys", (self._own / "id.pub").read_text())
            keys.end()

    def _command(self, folder: Path, core: str, cpus: int) -> list[str]:
        forward = f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{self._port}-:22"
        return ["timeout", "--kill-after=5", str(LIFE_S), "qemu-system-aarch64", "-M", "virt", "-cpu", core, "-smp", str(cpus),
                "-m", str(MEMORY_MB), "-display", "none", "-serial", "stdio", "-monitor", "none", "-no-reboot",
                "-kernel", str(folder / "kernel"), "-initrd", str(self._own / "initrd"), "-append", "console=ttyAMA0 panic=-1 loglevel=4",
                "-netdev", forward, "-device", "virtio-net-pci,netdev=net,romfile="]

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._greets():
            if self._qemu.poll() is not None or time.monotonic() > end:
                said = self.console()
                raise DeviceError("The board doesn't boot.", " / ".join(said.splitlines()[-3:]), "see what it printed.", detail=said)
            time.sleep(0.5)

    def _greets(self) -> bool:
        """QEMU accepts connections from the beginning, and holds them: only sshd's greeting tells that it is there."""
        if "Server listening" not in self.console():
            return False
        try:
            with socket.create_connection(("127.0.0.1", self._port), 2) as link:
                return link.recv(4) == b"SSH-"
        except OSError:
            return False


def _free_port() -> int:
    with socket.socket() as link:
        link.bind(("127.0.0.1", 0))
        return int(link.getsockname()[1])
