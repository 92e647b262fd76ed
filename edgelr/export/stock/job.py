"""What both converters' processes share: their folder's samples, and how a failure is told."""
from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def samples(folder: Path) -> Iterator[NDArray[np.float32]]:
    """Every calibration sample, [1, *shape], one after the other."""
    for file in sorted(folder.glob("batch-*.npy")):
        for sample in np.load(file, allow_pickle=False):
            yield sample[None]


def main(convert: Callable[[Path], bytes]) -> None:
    """Run ``convert`` on the folder that the command line names; leave ``converted`` there, or ``error.json`` and exit code 1."""
    folder = Path(sys.argv[1])
    try:
        (folder / "converted").write_bytes(convert(folder))
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        (folder / "error.json").write_text(json.dumps({"why": why, "trace": traceback.format_exc()}), "utf-8")
        raise SystemExit(1) from error


def exported(folder: Path) -> Any:
    """The network that the parent process saved."""
    import torch

    return torch.export.load(folder / "program.pt2")
