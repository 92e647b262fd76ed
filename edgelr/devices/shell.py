"""What all transports share: a POSIX shell at the other end. A transport adds only how a shell line gets there."""
from __future__ import annotations

import hashlib
import json
import re
import secrets
import shlex
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import suppress

from edgelr.devices.child import Child, Kept, OutOfBoundsError
from edgelr.devices.leftovers import NAME, OLD_MINUTES, PREFIX, is_dead, session_prefix
from edgelr.devices.quoting import check_file_name, has_control, last_line, shown
from edgelr.devices.transport import OUTPUT_LIMIT_BYTES, Ran
from edgelr.errors import DeviceError, EdgelrError

GET_LIMIT_BYTES = 64_000_000
SLOWEST_BYTES_PER_S = 100_000  # a slower link than this is taken for a lost one
WRITE_FAILED = 5
PYTHON_AT_LEAST = (3, 9)
PACKAGES = {"ai_edge_litert": "ai-edge-litert", "tflite_runtime": "tflite-runtime"}  # where pip's name isn't the module's

# All scripts are constants; what varies comes as "$1", "$2" …, so no name is ever read as shell.
# The last line on stderr is ours: without it the command didn't run to its end, whatever code the client gives.
_TELL = 'printf "\\nedgelr-end %s %d\\n" "$n" "$c" >&2; exit "$c"'
_FED = f'n=$1; shift 2; "$@"; c=$?; {_TELL}'
# Nothing is sent on stdin: its end is the end of the link or of the caller, and then the command and its group must not run on.
# What the command leaves behind goes too: it would hold the streams open.
_WATCHED = (
    'n=$1; s=$2; shift 2; ulimit -c 0 2>/dev/null; exec 3<&0; command -v "$s" >/dev/null 2>&1 || s=; $s "$@" 3<&- </dev/null & p=$!; '
    '(read -r x <&3; if [ -n "$s" ]; then kill -9 "-$p" || kill -9 "$p"; kill -9 $$; else kill -9 0; fi) >/dev/null 2>&1 & w=$!; '
    'exec 3<&-; wait "$p"; c=$?; kill -9 "$w" 2>/dev/null; [ -z "$s" ] || kill -9 "-$p" 2>/dev/null; ' + _TELL
)
_MAKE = 'umask 077; b=${TMPDIR:-$1}; mktemp -d "${b%/}/$2XXXXXXXX"'
_LIST = (
    'find "$1" -maxdepth 1 -type d -name "$2*" -user "$(id -u)" -exec printf "new %s\\n" "{}" ";" ; '
    'find "$1" -maxdepth 1 -type d -name "$2*" -user "$(id -u)" -mmin "+$3" -exec printf "old %s\\n" "{}" ";"'
)
_REMOVE = 'case "$1" in /*/edgelr.????????.*) ;; *) exit 3;; esac; [ -d "$1" ] && [ ! -L "$1" ] || exit 0; rm -rf "$1"'
_HASH = (
    'if command -v sha256sum >/dev/null 2>&1; then sha256sum <"$1"; elif command -v shasum >/dev/null 2>&1; then shasum -a 256 <"$1"; '
    'else openssl dgst -sha256 -r <"$1"; fi'
)
_PUT = f'umask 077; cat >"$1" || exit {WRITE_FAILED}; {_HASH}'
_GET = 'cat <"$1"'
_PYTHONS = 'for p in "$@"; do case "$p" in "~/"*) p=$HOME/${p#??};; esac; command -v "$p"; done'
_PROBE = (
    "import importlib.util as u,json,sys;"
    "print(json.dumps([list(sys.version_info[:2]),[m for m in sys.argv[1:] if u.find_spec(m) is None]]))"
)


class ShellTransport(ABC):
    """A ``Transport`` to whatever runs a shell line; see there for the methods. Subclasses say how, and what their messages call it."""

    timed = True  # its clock tells how long the device takes
    base = "/tmp"  # noqa: S108 (mktemp makes a private folder in it; TMPDIR there goes first)
    session = "setsid"  # makes a command the head of a group of its own, to be ended as a whole; "" where it is in one already
    pythons: tuple[str, ...] = ("~/.edgelr/bin/python", "python3", "python")

    def __init__(self, address: str, python: str = "") -> None:
        self._address = address
        self._named_python = python
        self._folder = ""
        self._found: dict[tuple[str, ...], list[str]] = {}

    @property
    def address(self) -> str:
        return self._address

    @property
    def folder(self) -> str:
        if not self._folder:
            self._folder = self._make_folder()
            with suppress(EdgelrError):  # tidying up must not stop the work
                self._clean(self._folder.rpartition("/")[0])
        return self._folder

    def python(self, modules: Sequence[str]) -> list[str]:
        wanted = tuple(modules)
        if wanted not in self._found:
            self._found[wanted] = self._find_python(wanted)
        return list(self._found[wanted])

    def run(self, argv: Sequence[str], *, seconds: float = 60.0, stdin: bytes = b"") -> Ran:
        return self._run(argv, seconds, stdin, OUTPUT_LIMIT_BYTES)

    def lines(self, argv: Sequence[str], *, seconds: float, silent_seconds: float = 120.0) -> Iterator[bytes]:
        word, line = self._line(_WATCHED, argv)
        with self._start(line, None) as child:
            rest = bytearray()
            try:
                for chunk in child.chunks(seconds, silent_seconds):
                    rest += chunk
                    *whole, last = rest.split(b"\n")
                    if any(len(part) > OUTPUT_LIMIT_BYTES for part in (*whole, last)):
                        raise OutOfBoundsError(f"it sent a line of more than {OUTPUT_LIMIT_BYTES // 1_000_000} MB.")
                    rest = last
                    yield from map(bytes, whole)
            except OutOfBoundsError as error:
                raise self._stopped(argv, error) from None
            if rest:
                yield bytes(rest)
            code, err = self._end(word, child.err)
        if code:
            raise DeviceError(
                f"A command on {self.name} failed with code {code}.",
                last_line(err) or "it didn't say why.",
                "see the log; then run it again.",
                detail=err.decode("utf-8", "backslashreplace"),
            )

    def put(self, data: bytes, name: str) -> str:
        check_file_name(name)
        path, wanted = f"{self.folder}/{name}", hashlib.sha256(data).hexdigest()
        for _ in range(2):
            if (got := self._write(path, data)) == wanted:
                return path
        with suppress(EdgelrError):
            self.run(["rm", "-f", path])
        raise DeviceError(
            f"A file arrives damaged on {self.name}, twice.",
            f"the SHA-256 of '{shown(name, 60)}' there is {got[:16]}…, here {wanted[:16]}….",
            "check its storage (memory cards wear out), its memory and the cable.",
        )

    def get(self, path: str) -> bytes:
        if has_control(path):
            raise DeviceError(f"A file can't be got from {self.name}.", f"its name has control characters: '{shown(path, 100)}'.")
        ran = self._run(["sh", "-c", _GET, "edgelr", path], 60.0 + GET_LIMIT_BYTES / SLOWEST_BYTES_PER_S, b"", GET_LIMIT_BYTES + 1)
        if ran.code:
            raise DeviceError(f"A file can't be got from {self.name}.", last_line(ran.err), "run it again.")
        if len(ran.out) > GET_LIMIT_BYTES:
            raise DeviceError(f"A file can't be got from {self.name}.", f"it has more than {GET_LIMIT_BYTES // 1_000_000} MB.")
        return ran.out

    def close(self) -> None:
        """Remove ``folder`` and end the connection. Never raises."""
        folder, self._folder = self._folder, ""
        with suppress(EdgelrError, OSError):
            if folder:
                self._remove(folder)
        with suppress(EdgelrError, OSError):
            self._disconnect()

    @property
    @abstractmethod
    def name(self) -> str:
        """What messages call the device: never a password, never control characters."""

    @abstractmethod
    def _client(self, line: str) -> list[str]:
        """The command, on this machine, that runs a line of POSIX shell on the device."""

    def _disconnect(self) -> None:  # noqa: B027 (most have nothing to end)
        pass

    def _lost(self, err: bytes) -> DeviceError:
        """What to raise for a command whose end never came; ``err`` is what the client said."""
        why = last_line(err) or "the connection ended before the command did."
        return DeviceError(f"The link to {self.name} was lost.", why, "see that it is on and reachable, then run it again.")

    def _run(self, argv: Sequence[str], seconds: float, stdin: bytes, keep: int) -> Ran:
        word, line = self._line(_FED if stdin else _WATCHED, argv)
        out = Kept(keep)
        with self._start(line, stdin or None) as child:
            try:
                for chunk in child.chunks(seconds, seconds):
                    out.add(chunk)
            except OutOfBoundsError as error:
                raise self._stopped(argv, error) from None
            code, err = self._end(word, child.err)
        return Ran(code, out.head, err)

    def _write(self, path: str, data: bytes) -> str:
        """Write a file there; the SHA-256 of what is there then."""
        ran = self._run(["sh", "-c", _PUT, "edgelr", path], 60.0 + len(data) / SLOWEST_BYTES_PER_S, data, OUTPUT_LIMIT_BYTES)
        if ran.code == WRITE_FAILED:
            raise DeviceError(f"A file can't be written on {self.name}.", last_line(ran.err), "free some space there.")
        match = re.match(rb"[0-9a-f]{64}\b", ran.out)
        if match is None:
            why = "it has none of sha256sum, shasum and openssl."
            raise DeviceError(f"A file on {self.name} can't be checked.", why, "install coreutils there.")
        return match.group().decode()

    def _line(self, script: str, argv: Sequence[str]) -> tuple[str, str]:
        if not argv or any("\0" in word for word in argv):
            raise DeviceError(f"A command can't be run on {self.name}.", "it is empty, or has a NUL character.")
        word = secrets.token_hex(8)  # so that nothing a program prints is taken for our own last line
        return word, "exec " + shlex.join(["sh", "-c", script, "edgelr", word, self.session, *argv])

    def _start(self, line: str, stdin: bytes | None) -> Child:
        argv = self._client(line)
        try:
            return Child(argv, stdin=stdin, keep_err=OUTPUT_LIMIT_BYTES)
        except OSError as error:
            raise DeviceError(f"'{argv[0]}' can't be started.", f"{error.strerror or error}.", "install it.") from error

    def _end(self, word: str, err: Kept) -> tuple[int, bytes]:
        """The command's exit code and its own stderr. Raises ``DeviceError`` where it didn't run to its end."""
        match = re.search(rb"\nedgelr-end %s (\d{1,3})\r?\n" % word.encode(), err.tail)
        if match is None:
            raise self._lost(err.head)
        return int(match.group(1)), err.head.replace(match.group(), b"")

    def _stopped(self, argv: Sequence[str], error: OutOfBoundsError) -> DeviceError:
        return DeviceError(f"A command on {self.name} was stopped.", str(error), f"look at what it does: {shown(shlex.join(argv), 100)}")

    def _make_folder(self) -> str:
        ran = self.run(["sh", "-c", _MAKE, "edgelr", self.base, session_prefix()])
        path = ran.out.decode("utf-8", "replace").removesuffix("\n")
        if ran.code or not _is_session_folder(path) or not path.rpartition("/")[2].startswith(session_prefix()):
            raise DeviceError(f"No folder can be made on {self.name}.", last_line(ran.err or ran.out), "free some space in its TMPDIR.")
        return path

    def _clean(self, base: str) -> None:
        """Remove the folders of sessions that are gone: this machine's at once, others' when nothing was written there for two days."""
        ran = self.run(["sh", "-c", _LIST, "edgelr", base, PREFIX, str(OLD_MINUTES)])
        for line in ran.out.decode("utf-8", "replace").splitlines():
            age, _, path = line.partition(" ")
            if path.rpartition("/")[0] == base and path != self._folder and (age == "old" or is_dead(path.rpartition("/")[2])):
                self._remove(path)

    def _remove(self, path: str) -> None:
        if _is_session_folder(path):
            self.run(["sh", "-c", _REMOVE, "edgelr", path])

    def _find_python(self, modules: tuple[str, ...]) -> list[str]:
        tried = (self._named_python,) if self._named_python else self.pythons
        there = self.run(["sh", "-c", _PYTHONS, "edgelr", *tried]).out.decode("utf-8", "replace").splitlines()
        lacking: tuple[str, list[str]] | None = None
        reason = ""
        for path in there:
            version, missing = self._probe(path, modules)
            if version < PYTHON_AT_LEAST:
                reason = reason or f"'{shown(path)}' is " + (f"version {version[0]}.{version[1]}." if version[0] else "no Python.")
            elif missing:
                lacking = lacking or (path, missing)
            else:
                return [path]
        if lacking:
            raise self._lacks(*lacking)
        looked = "', '".join(shown(name) for name in tried)
        raise DeviceError(
            f"There is no Python {PYTHON_AT_LEAST[0]}.{PYTHON_AT_LEAST[1]} or newer on {self.name}.",
            reason or f"looked for '{looked}'.",
            "install one there, or name it: ?python=/its/path at the end of the address.",
        )

    def _lacks(self, path: str, missing: list[str]) -> DeviceError:
        packages = " ".join(PACKAGES.get(module, module) for module in missing)
        if self._named_python or path in self.pythons:
            pip = f"{shlex.quote(path)} -m pip install {packages}"
        else:  # systems keep their own Python to themselves (PEP 668), so one beside it, where it is looked for first
            pip = f"python3 -m venv ~/.edgelr && ~/.edgelr/bin/pip install numpy {packages}"
        why = f"'{shown(path)}' can't import {'them' if len(missing) > 1 else 'it'}."
        return DeviceError(f"Python on {self.name} lacks {', '.join(missing)}.", why, f"there: {shown(pip)}")

    def _probe(self, path: str, modules: tuple[str, ...]) -> tuple[tuple[int, int], list[str]]:
        """Version and missing modules; version (0, 0) where it isn't a Python."""
        ran = self.run([path, "-c", _PROBE, *modules])
        try:
            (major, minor), missing = json.loads(ran.out)
            return (int(major), int(minor)), [module for module in modules if module in missing]
        except (ValueError, TypeError):
            return (0, 0), []


def _is_session_folder(path: str) -> bool:
    base, _, name = path.rpartition("/")
    return base.startswith("/") and len(path) < 1000 and not has_control(path) and NAME.fullmatch(name) is not None
