"""Compares a file's outputs with a reference's, and lets a file pass or not."""
from __future__ import annotations

from dataclasses import dataclass
from math import inf, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelr.errors import GateError
from edgelr.export.written import Format

LITERT_AGREEMENT = 0.995  # what a ResNet-20 must keep on CIFAR-10; three 20- to 53-layer networks kept 1.0 of 100 random inputs each
LITERT_SQNR_DB = 20.0  # the same three kept 46 dB or more; the quantised networks themselves keep 37 to 44 dB of the float ones
UNDECIDED_STEPS = 2  # a class this few steps below the reference's best may win: each of both values may be one step off
_NOISE = 2.0  # standard deviations of two values' difference, where rounding spreads farther than a step: recurrent nets, float outputs
_MEDIAN_TO_DEVIATION = 1.4826  # of normal noise


@dataclass(frozen=True)
class Agreement:
    """How alike two sets of outputs are, over ``samples`` samples.

    ``top1_agreement``: share of decisions (largest value over axis 1) that are the same. ``clear_agreement``: the same, but a decision
    between values at most ``UNDECIDED_STEPS`` steps apart in the reference, or twice what both typically differ by, counts as the same.
    ``equal_fraction``: share of values that are equal. ``max_lsb``: largest difference in steps of the output's grid. ``sqnr_db``: the
    reference's power over the difference's, inf where they are equal.
    """

    samples: int
    top1_agreement: float
    clear_agreement: float
    equal_fraction: float
    max_lsb: float
    sqnr_db: float


def compare(reference: NDArray[Any], got: NDArray[Any], step: float) -> Agreement:
    """Compare real outputs [samples, classes, ...]; ``step`` is the scale of the output's grid.

    Raises GateError where shapes differ, there is no sample, or a value is not finite.
    """
    if reference.shape != got.shape or not reference.size:
        raise GateError("the file's outputs can't be compared with the reference's", f"shapes {got.shape} and {reference.shape}",
                        "compare outputs of the same samples")
    a, b = reference.astype(np.float64), got.astype(np.float64)
    if not np.isfinite(b).all() or not np.isfinite(a).all():
        raise GateError("outputs are not finite", "there is a NaN or an infinity among them", "check the inputs and the weights")
    a, b = a.reshape(len(a), a.shape[1] if a.ndim > 1 else 1, -1), b.reshape(len(b), b.shape[1] if b.ndim > 1 else 1, -1)
    ours, theirs = a.argmax(1)[:, None], b.argmax(1)[:, None]
    behind = np.take_along_axis(a, ours, 1) - np.take_along_axis(a, theirs, 1)
    difference = np.abs(a - b)
    # The median: one class that is wrong, or a few samples, don't make the others' decisions undecided.
    typical = _MEDIAN_TO_DEVIATION * float(np.median(difference)) * sqrt(2.0)
    undecided = max((UNDECIDED_STEPS + 1e-3) * step, _NOISE * typical)
    noise, power = float(np.square(difference).sum()), float(np.square(a).sum())
    sqnr = inf if noise == 0 else -inf if power == 0 else 10 * float(np.log10(power / noise))
    return Agreement(len(a), float((ours == theirs).mean()), float((behind <= undecided).mean()),
                     float((difference == 0).mean()), round(float(difference.max()) / step, 3), sqnr)


def gate(agreement: Agreement, format: Format, exact: bool | None = None) -> None:
    """Let a file pass that agrees with the integer run on the same samples. Raises GateError with the numbers.

    An .onnx must be equal bit for bit (``exact``; False where it has operations in float). A .tflite may differ by single steps, which
    LiteRT's own rounding makes and layers spread: it must decide the same on 99.5 % of the samples (of fewer than 200, one may differ;
    near ties don't count) and keep ``LITERT_SQNR_DB``.
    """
    numbers = (f"{agreement.equal_fraction:.4%} of the values equal, at most {agreement.max_lsb:.1f} steps apart, "
               f"{agreement.top1_agreement:.2%} of {agreement.samples} samples decided the same, {agreement.sqnr_db:.1f} dB")
    advice = "report it with the network; the other format may be right"
    if (format == "onnx" if exact is None else exact) and agreement.equal_fraction < 1:
        raise GateError("the .onnx file is not equal to the integer run", numbers, advice)
    differing = (1 - agreement.clear_agreement) * agreement.samples
    allowed = max(1.0, (1 - LITERT_AGREEMENT) * agreement.samples)
    if differing > allowed + 1e-6 or agreement.sqnr_db < LITERT_SQNR_DB:
        raise GateError(f"the .{format} file disagrees with the integer run", numbers, advice)
