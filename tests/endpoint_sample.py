"""A device to attach that is this machine: what its shell finds (home, TMPDIR, programs) is a test's own, whatever the way there."""
from __future__ import annotations

import os
import shlex
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

WRAPPER = """#!/bin/sh
. {root}/env
cd {root}/home || exit 1
exec sh -c "${{SSH_ORIGINAL_COMMAND-$1}}"
"""


class Endpoint:
    """``root`` holds ``home`` (where commands start), ``tmp`` (its TMPDIR), ``bin`` (first on its PATH)."""

    kind = "local"
    address = "local"

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("home", "tmp", "bin"):
            (root / name).mkdir(parents=True, exist_ok=True)
        self.wrapper = root / "wrapper"
        self.wrapper.write_text(WRAPPER.format(root=shlex.quote(str(root))))
        self.wrapper.chmod(0o755)
        self.reset()

    def reset(self) -> None:
        """As it was at first: no programs of its own, TMPDIR and PATH as they are."""
        for file in (self.root / "bin").iterdir():
            file.unlink()
        self.set(TMPDIR=str(self.root / "tmp"), HOME=str(self.root / "home"), PATH=f"{self.root / 'bin'}:{os.environ['PATH']}")

    def set(self, **variables: str) -> None:
        """What its shell has in its environment."""
        self.variables = {**getattr(self, "variables", {}), **variables}
        (self.root / "env").write_text("".join(f"export {n}={shlex.quote(v)}\n" for n, v in self.variables.items()), "utf-8")

    def program(self, name: str, text: str) -> None:
        """A program that goes before the system's own there."""
        file = self.root / "bin" / name
        file.write_text(f"#!/bin/sh\n{text}\n")
        file.chmod(0o755)

    def folders(self) -> list[str]:
        """Session folders of ours that are there now."""
        return sorted(path.name for path in (self.root / "tmp").iterdir() if path.name.startswith("edgelr."))

    def ready(self) -> None:
        """Make it reachable, where a test cut it off."""

    def cut(self) -> None:
        """Cut the link while a command runs."""
        raise NotImplementedError

    def stop(self) -> None:
        """End what it runs."""


class LocalEndpoint(Endpoint):
    """This machine itself; the environment is this process's own, so tests wrap it in ``monkeypatch``."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        super().__init__(root)
        monkeypatch.chdir(root / "home")

    def set(self, **variables: str) -> None:
        super().set(**variables)
        for name, value in variables.items():
            self._monkeypatch.setenv(name, value)


def needs(*programs: str) -> None:
    """Skip without these programs; in continuous integration, which installs them, that is a failure."""
    absent = [program for program in programs if shutil.which(program) is None]
    if not absent:
        return
    reason = f"not installed: {', '.join(absent)}"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def free_port() -> int:
    with socket.socket() as link:
        link.bind(("127.0.0.1", 0))
        return int(link.getsockname()[1])


def wait_for(happens: Callable[[], object], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def answers(port: int) -> bool:
    with socket.socket() as link:
        link.settimeout(1)
        return link.connect_ex(("127.0.0.1", port)) == 0


def runs(word: str) -> bool:
    """Whether a process that has the word on its command line is alive."""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if word.encode() in file.read_bytes():
                return True
        except OSError:
            continue
    return False
