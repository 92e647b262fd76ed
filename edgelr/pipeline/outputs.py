"""The output folder: every file whole, or none of them."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from edgelr.errors import BadInputError


def save(out: Path, files: Mapping[str, bytes]) -> None:
    """Write all files beside their place first, then move them in. A failure leaves the folder as it was.

    A ``model.int8.*`` of an earlier run that is not among ``files`` goes: the new report would not know it.

    Raises BadInputError where the disk is full or the folder can't be written.
    """
    needed = sum(len(data) for data in files.values())
    # Inside the folder where there is one: it may be a file system of its own, which nothing can be moved into from outside.
    parent = out if out.is_dir() else next(p for p in out.resolve().parents if p.exists())
    temporary: Path | None = None
    try:
        temporary = Path(tempfile.mkdtemp(prefix=".edgelr-", dir=parent))
        for name, data in files.items():
            with (temporary / name).open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        out.mkdir(parents=True, exist_ok=True)
        for name in files:
            (temporary / name).replace(out / name)
        for stale in set(out.glob("model.int8.*")) - {out / name for name in files}:
            stale.unlink()
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            free = shutil.disk_usage(parent).free
            raise BadInputError(
                "the disk is full", f"the results take {needed:,} bytes and {free:,} are free", "make room, or name another folder with -o"
            ) from error
        raise BadInputError(
            f"{out} can't be written", error.strerror or str(error), "check the folder's permissions, or name another with -o"
        ) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
