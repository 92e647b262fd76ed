"""edgelr doctor: what is installed, what this machine can do, what is missing and the one line that mends it."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import Annotated

import typer

from edgelr.cli import options as o
from edgelr.cli.render import answer, teller
from edgelr.errors import BadInputError

OPTIONAL = {"litert-torch": "stock", "timm": "timm", "torchvision": "torchvision", "scikit-learn": "demo"}


Emulator = Annotated[
    str,
    typer.Option("--emulator", help="Make this folder hold emulated Arm cores (arm64 Python and wheels, 100 MB), for NAME@emulated."),
]


def doctor(emulator: Emulator = "", json: o.Json = False) -> None:
    """Tell versions, the machine, and what optional parts are missing; with --emulator, fetch what emulated cores need."""
    import textwrap
    from importlib import metadata

    if emulator:
        _prepare(emulator)
        return

    from edgelr.devices import describe_host, list_targets, saturates
    from edgelr.pipeline.lines import versions

    found, host = versions(), describe_host()
    missing = [p for p, v in found.items() if not v]
    absent = {}
    for package, extra in OPTIONAL.items():
        try:
            metadata.version(package)
        except metadata.PackageNotFoundError:
            absent[package] = f"pip install 'edgelr[{extra}]'"
    if json:
        answer(
            jsonlib.dumps(
                {"schema": 1, "versions": found, "host": host, "targets": list_targets(), "missing": missing, "optional": absent}, indent=1
            )
        )
    else:
        answer(
            "\n".join(
                [
                    *(f"{p:16} {v or 'MISSING'}" for p, v in found.items()),
                    "",
                    f"machine          {host['cpu']}, {host['cores']} cores, {' '.join(host['isa']) or 'no int8 instructions known'}",
                    textwrap.fill(f"targets          {', '.join(list_targets())}", 80, subsequent_indent=" " * 17, break_on_hyphens=False),
                    *(f"optional         {p} is not installed: {line}" for p, line in absent.items()),
                ]
            )
        )
        if saturates():
            told = "note             no VNNI: int8 is slower here than on newer processors, and files for this one get 7-bit weights"
            answer(textwrap.fill(told, 80, subsequent_indent=" " * 17))
    if missing:
        raise BadInputError(
            f"missing: {', '.join(missing)}", "edgelr needs them", "pip install -e . in the checkout, or pip install edgelr"
        )


def _prepare(folder: str) -> None:
    from edgelr.devices.sysroot import prepare

    prepare(Path(folder), teller(False))
    answer(f"ready: export EDGELR_EMULATOR={folder}, then --target raspberry-pi-4@emulated")
