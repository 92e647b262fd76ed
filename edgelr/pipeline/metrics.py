"""Task metrics: accuracy, agreement with the source network, or the user's own function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgelr.data import Split
from edgelr.errors import BadInputError, UsageError
from edgelr.user_code import named_function
from edgelr.vocabulary import Score

Outputs = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Metric:
    """``function(outputs, labels, reference)`` gives a fraction in [0, 1]; ``reference`` are the source's outputs."""

    name: str
    function: Callable[[Outputs, Labels | None, Outputs], float]

    def score(self, outputs: Outputs, labels: Labels | None, reference: Outputs, split: str) -> Score:
        """Raises BadInputError where a user's metric gives no number in [0, 1]."""
        value = float(self.function(outputs, labels, reference))
        if not 0 <= value <= 1:
            raise BadInputError(f"the metric {self.name} gave {value}", "a score is a fraction in [0, 1]", "scale it, or return a share")
        return Score(self.name, value, len(outputs), split)


def accuracy(outputs: Outputs, labels: Labels | None, reference: Outputs) -> float:
    assert labels is not None
    return float((outputs.argmax(1) == labels).mean())


def agreement(outputs: Outputs, labels: Labels | None, reference: Outputs) -> float:
    """The share of samples on which both networks pick the same class."""
    return float((outputs.argmax(1) == reference.argmax(1)).mean())


def metric_of(name: str, split: Split) -> Metric:
    """The metric by name; "" is accuracy where the split has labels, else agreement. Raises UsageError."""
    if name == "accuracy" or (not name and split.y is not None):
        if split.y is None:
            raise UsageError("accuracy needs labels", "the data have none", "add y to the data, or use --metric agreement")
        return Metric("accuracy", accuracy)
    if name in ("", "agreement"):
        return Metric("agreement", agreement)
    if ":" not in name:
        raise UsageError(f"unknown metric {name!r}", "", "accuracy, agreement, or FILE.py:FUNCTION taking (outputs, labels)")
    own = named_function(name)
    return Metric(name.rpartition(":")[2], lambda outputs, labels, reference: own(outputs, labels))


def sqnr_db(reference: Outputs, outputs: Outputs) -> float:
    """Signal to quantisation noise of the outputs in dB: the reference's energy over the difference's."""
    noise = float(np.square(reference.astype(np.float64) - outputs).sum())
    signal = float(np.square(reference, dtype=np.float64).sum())
    return float("inf") if noise == 0 else 10 * float(np.log10(max(signal, 1e-300) / noise))
