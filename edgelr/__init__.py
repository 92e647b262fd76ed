"""edgelr: a PyTorch network, a device and a budget go in; int8 .tflite and .onnx files that meet the budget come out."""
from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from edgelr.errors import BadInputError, BudgetError, EdgelrError, GateError, UnsupportedError, UsageError
from edgelr.vocabulary import Choice, Plan

if TYPE_CHECKING:
    from edgelr.api import compress, inspect, load, quantize
    from edgelr.data import Data, Split

# onnxruntime's wheel reports on its use from a thread of its own, once it is imported (1.31.1): edgelr promises that nothing is sent.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"
__all__ = [
    "BadInputError", "BudgetError", "Choice", "Data", "EdgelrError", "GateError", "Plan", "Split", "UnsupportedError", "UsageError",
    "compress", "inspect", "load", "quantize",
]

# Imported when first asked for: torch takes seconds, and --help, --version and a wrong call need none of it.
_LATER = {**dict.fromkeys(("compress", "inspect", "load", "quantize"), "edgelr.api"), **dict.fromkeys(("Data", "Split"), "edgelr.data")}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'edgelr' has no attribute {name!r}")
    found = getattr(import_module(_LATER[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
