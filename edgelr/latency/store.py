"""Where latency tables are: a file that the user names, the user's own folder, the target's folder."""
from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from edgelr.devices.targets import PLACES
from edgelr.errors import BadInputError, EdgelrError, UsageError
from edgelr.latency.table import Table
from edgelr.latency.table_check import check
from edgelr.latency.table_file import MAX_BYTES, dumps, loads

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class Found:
    """A table, the file it is from, and what is to be said of it beside any price (``check``)."""

    table: Table
    path: Path
    labels: tuple[str, ...] = ()


def home() -> Path:
    """The user's own folder: $EDGELR_HOME, or edgelr in $XDG_DATA_HOME, or ~/.local/share/edgelr."""
    if own := os.environ.get("EDGELR_HOME"):
        return Path(own)
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "edgelr"


def own_file(target: str, runtime: str) -> Path:
    """Where a table that the user builds is kept. Raises UsageError for a name that is no folder's."""
    for name in (target, runtime):
        if not _NAME.fullmatch(name):
            raise UsageError(f"'{name[:60]}' can't be a table's name.", "it becomes a folder: letters, digits, '.', '_' and '-'.")
    return home() / "tables" / target / f"{runtime}.tsv"


def find_table(
    target: str, runtime: str, path: str | Path = "", *, core: str = "", version: str = "", threads: int = 0, today: date | None = None
) -> Found | None:
    """The table of a target and a runtime: the file at ``path`` if it is given, else the user's own, else the shipped one, else None.

    A file at ``path`` is the table of its own runtime alone.

    Raises BadInputError for a table that can't be read, or not be used for this core, runtime or number of threads (``check``).
    """
    places = [Path(path)] if path else [own_file(target, runtime), *(folder / target / f"{runtime}.tsv" for folder in PLACES)]
    file = next((p for p in places if path or p.is_file()), None)
    if file is None:
        return None
    table = load_table(file)
    if path and table.head.runtime != runtime:
        return None  # a file that the user named is of one runtime; the others have none
    now = today or datetime.now(UTC).date()
    return Found(table, file, check(table, core=core, runtime=runtime, version=version, threads=threads, today=now))


def all_tables() -> Iterator[tuple[Path, Found | EdgelrError]]:
    """Every table of the user's and of the targets, by path; those that can't be used with the reason."""
    for folder in (home() / "tables", *PLACES):
        for file in sorted(folder.glob("*/*.tsv")):
            try:
                table = load_table(file)
                yield file, Found(table, file, check(table, today=datetime.now(UTC).date()))
            except EdgelrError as error:
                yield file, error


def load_table(file: Path) -> Table:
    """A table from a file. Raises BadInputError, naming the file."""
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
        text = data.decode("utf-8")
    except OSError as error:
        raise BadInputError(f"The latency table {file} can't be read.", error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise BadInputError(f"The latency table {file} can't be read.", "it isn't text (UTF-8).") from error
    try:
        return loads(text)
    except BadInputError as error:
        raise BadInputError(f"{file}: {error.what}", error.why, error.try_) from error


def save_table(file: Path, table: Table) -> None:
    """Write a table, whole or not at all. Raises BadInputError where it can't be written."""
    text = dumps(table)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=file.parent, prefix=f".{file.name}-", delete=False) as part:
            try:
                part.write(text.encode())
                part.flush()
                os.fsync(part.fileno())
                Path(part.name).chmod(0o644)
                Path(part.name).replace(file)
            except BaseException:
                Path(part.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise BadInputError(f"The latency table {file} can't be written.", error.strerror or str(error), "give another file: -o") from error
