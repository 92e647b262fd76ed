"""edgelr: a PyTorch network, a device and a budget go in; int8 .tflite and .onnx files that meet the budget come out."""
from __future__ import annotations

from edgelr.api import compress, inspect, load, quantize
from edgelr.data import Data, Split
from edgelr.errors import BadInputError, BudgetError, EdgelrError, GateError, UnsupportedError, UsageError
from edgelr.vocabulary import Choice, Plan

__version__ = "0.1.0"
__all__ = [
    "BadInputError", "BudgetError", "Choice", "Data", "EdgelrError", "GateError", "Plan", "Split", "UnsupportedError", "UsageError",
    "compress", "inspect", "load", "quantize",
]
