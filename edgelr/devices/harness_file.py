"""The harness as the one file that is put on a device: a zip file that Python runs, of plain sources that anyone can read there."""
from __future__ import annotations

import io
import zipfile
from functools import cache
from pathlib import Path

NAME = "harness.zip"
_FOLDER = Path(__file__).parent / "harness"
_START = "import sys\n\nfrom harness.job import main\n\nmain(sys.argv[1])\n"


@cache
def harness_file() -> bytes:
    """The bytes of the harness, the same for the same sources: ``python harness.zip JOB``."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, text in [("__main__.py", _START), *((f"harness/{f.name}", f.read_text("utf-8")) for f in sorted(_FOLDER.glob("*.py")))]:
            archive.writestr(zipfile.ZipInfo(name), text)
    return stream.getvalue()
