"""Archives that the kernel unpacks into its first root: cpio's "newc" format (Linux, Documentation/driver-api/early-userspace)."""
from __future__ import annotations

import stat
from pathlib import Path, PurePosixPath
from typing import BinaryIO


class Cpio:
    """Writes an archive to a stream. Everything belongs to root; folders are made as files need them; of two of a path the first stays."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._names: set[str] = set()

    def tree(self, folder: Path, at: str = "", without: tuple[str, ...] = ()) -> None:
        """All that lies in ``folder``, under the path ``at``; paths in ``folder`` that match a pattern of ``without`` are left out."""
        for path in sorted(folder.rglob("*")):
            inside = PurePosixPath(path.relative_to(folder))
            if not any(part.match(pattern) for part in (inside, *inside.parents) for pattern in without):
                self.path(path, f"{at}{inside}")

    def path(self, path: Path, name: str) -> None:
        """One file, link or folder as it is."""
        found = path.lstat()
        mode, when = found.st_mode, int(found.st_mtime)  # Python compares the time of a source with what its bytecode says
        if stat.S_ISLNK(mode):
            self._entry(name, mode, str(path.readlink()).encode(), when)
        elif stat.S_ISREG(mode):
            self._entry(name, mode, path.read_bytes(), when)
        elif stat.S_ISDIR(mode):
            self._entry(name, mode, b"", when)

    def text(self, name: str, text: str, mode: int = 0o644) -> None:
        """A file that holds ``text``."""
        self._entry(name, stat.S_IFREG | mode, text.encode())

    def folder(self, name: str, mode: int = 0o755) -> None:
        """An empty folder."""
        self._entry(name, stat.S_IFDIR | mode, b"")

    def end(self) -> None:
        """The last entry; another archive may follow it in the same stream."""
        self._names.clear()
        self._entry("TRAILER!!!", 0, b"")
        self._stream.write(b"\0" * (-self._stream.tell() % 512))

    def _entry(self, name: str, mode: int, data: bytes, when: int = 0) -> None:
        if name in self._names:
            return
        parent = str(PurePosixPath(name).parent)
        if parent != ".":
            self._entry(parent, stat.S_IFDIR | 0o755, b"")
        self._names.add(name)
        fields = (len(self._names), mode, 0, 0, 1, when, len(data), 0, 0, 0, 0, len(name.encode()) + 1, 0)
        head = b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
        self._stream.write(head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4))
