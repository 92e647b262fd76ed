"""Inputs that don't look like the training inputs, told before any work.

A batch norm remembers the mean and variance that its input had in training. The first ones in the network see little but the input, so
there a wrong normalisation shows. For each channel: the shift of the mean in stored standard deviations, and log2 of data variance over
stored variance; both averaged over channels (absolute values).

Measured at the first batch norm, (shift, log2 ratio), and what the mistake costs in accuracy:
    ResNet-20, CIFAR-10 (JPEG copy), 512 images        EfficientNet-Lite0, 256 photos
    right           0.09   0.59   87.5 %               right ((p-127)/128)   0.05    0.09   90.2 %
    right, 64       0.11   0.70                        right, 64             0.10    0.15
    right, 16       0.11   0.79                        right, 16             0.12    0.31
    (p-127)/128     0.10   2.55   -9.2 points          ImageNet mean/std     0.09    1.94   -11.3 points
    0..1            0.25   4.06   -42                  0..1                  0.43    1.76   -3.9
    0..255         43     11.91   -76                  0..255               98      12.22   -86
                                                       CIFAR-10 mean/std     0.06    1.70   -9.0
ResNet-20's own data are at 0.59 since it was trained on cropped, zero-padded images. MAX_LOG2_RATIO is the geometric mean of the
largest right value (0.86, at 16 images, any of the first three) and the smallest wrong one (1.58). Not seen by such statistics: ImageNet
mean/std on CIFAR-10 (0.15, 0.42: -1.2 points) and swapped colour channels (0.12, 0.09 on EfficientNet-Lite0: -8.2 points).
"""
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from edgelr.errors import BadInputError
from edgelr.graph.behaviour import told, watch
from edgelr.models.calls import StopForward, forward
from edgelr.models.depth import deep_enough, evaluating

MAX_LOG2_RATIO = 1.2
MAX_SHIFT = 0.3  # right ones reach 0.14, at 16 images; a wrong offset leaves the variance alone and is told by this
FIRST = 3
SMALLEST = 1e-6  # of the largest value: about the smallest range that a grid of 255 steps of 1e-8 holds
MAX_SAMPLES = 512  # 64 tell right from wrong; more only steady the figures


@dataclass(frozen=True)
class InputWarning:
    """What the first batch norms say of the inputs.

    ``kind``: "mismatch" (not like the training inputs), "unchecked" (nothing to compare with), "constant" (the samples are too few or too
    alike to tell ranges) or "state" (the network changes itself). ``mean_shift`` is in stored standard deviations, ``variance_ratio`` is
    data over stored (geometric mean over channels); both None but for a mismatch.
    """

    kind: Literal["mismatch", "unchecked", "constant", "state"]
    layer: str
    text: str
    samples: int
    mean_shift: float | None = None
    variance_ratio: float | None = None


class _Moments:
    """Running sum and sum of squares of each channel, in float64."""

    def __init__(self) -> None:
        self.count, self.total, self.squares = 0, torch.zeros(()), torch.zeros(())

    def add(self, value: Tensor) -> None:
        flat = value.double().transpose(0, 1).flatten(1) if value.dim() > 1 else value.double()[:, None]
        self.count += flat.shape[1]
        self.total = self.total + flat.sum(1)
        self.squares = self.squares + flat.square().sum(1)


class _Spread:
    """How far samples differ: from the first one, and from 0."""

    def __init__(self) -> None:
        self.count, self.largest, self.differ = 0, 0.0, False
        self.first: Tensor | None = None

    def add(self, batch: Tensor) -> None:
        self.first = batch[0].clone() if self.first is None else self.first
        self.differ = self.differ or bool((batch != self.first).any())
        self.count += len(batch)
        self.largest = max(self.largest, float(batch.abs().max())) if batch.numel() else self.largest

    def warning(self) -> InputWarning | None:
        """Told in the order of what is worse; all is well where two samples differ and something is above SMALLEST."""
        many = f"all {self.count} calibration samples" if self.count > 1 else "the only calibration sample"
        if self.largest < SMALLEST:
            text = f"{many} hold nothing but {'0' if self.largest == 0 else f'values within {self.largest:.2g} of 0'}"
        elif self.count == 1:
            text = "there is only 1 calibration sample"
        elif not self.differ:
            text = f"{many} are the same"
        else:
            return None
        return InputWarning("constant", "", f"{text}: the ranges of the integers rest on that alone, and other inputs will be cut off; "
                            "give 64 samples or more like those of training", self.count)


def check_inputs(model: nn.Module, example_batches: Iterable[Tensor]) -> tuple[InputWarning, ...]:
    """Compare the inputs with those of training, by the first three batch norms. Empty when they look alike.

    ``example_batches``: float32 tensors [N, ...]; at most MAX_SAMPLES samples are read, 64 are enough. One warning for each batch norm that
    disagrees; or one of kind "unchecked" for a network that has no batch norm with statistics of training (none at all, or never trained).
    Thresholds: mean |log2 variance ratio| > 1.2, or mean shift > 0.3 standard deviations (measured, see the module's docstring).
    Then one of kind "constant" where the samples are one, all the same or all 0, and one of kind "state" where forward() changes buffers,
    parameters or attributes although the output doesn't depend on it: a file won't.

    Raises BadInputError: no samples, NaN or infinity in them (with the sample's index), or the network doesn't take them; UnsupportedError
    where the same input gives another output the second time.
    """
    spread = _Spread()
    with deep_enough(model):
        norms = {n: m for n, m in model.named_modules()
                 if isinstance(m, nn.modules.batchnorm._BatchNorm) and _has_learnt(m)}
        found, samples = _collect(model, norms, example_batches, spread)
        assert spread.first is not None
        with evaluating(model):
            _, changes = watch(model, spread.first[None])
    warnings = [_compare(name, norms[name], moments, samples) for name, moments in found.items()]
    if not found:
        warnings = [InputWarning("unchecked", "", "the network has no batch norm with statistics of its training, to compare the inputs "
                                 "with: make sure yourself that they are normalised as in training", samples)]
    warnings.append(spread.warning())
    if changes:
        warnings.append(InputWarning("state", changes[0].path, f"forward() changes the network: {told(changes)}; its output doesn't depend "
                                     "on that, and the files don't do it", 1))
    return tuple(w for w in warnings if w is not None)


def _has_learnt(norm: Any) -> bool:
    """Whether the statistics are those of data, and not the 0 and 1 that they begin with."""
    return norm.running_mean is not None and not (bool((norm.running_mean == 0).all()) and bool((norm.running_var == 1).all()))


def _collect(model: nn.Module, norms: dict[str, Any], batches: Iterable[Tensor], spread: _Spread) -> tuple[dict[str, _Moments], int]:
    found: dict[str, _Moments] = {}

    def hook(name: str) -> Any:
        def before(module: nn.Module, args: Any) -> None:
            if name in found or len(found) < FIRST:
                found.setdefault(name, _Moments()).add(args[0])
            if list(found)[FIRST - 1:] == [name]:
                raise StopForward
        return before

    handles = [module.register_forward_pre_hook(hook(name)) for name, module in norms.items()]
    samples = 0
    try:
        for batch in batches:
            taken = batch[: MAX_SAMPLES - samples]
            _check_finite(taken, samples)
            spread.add(taken)
            if norms or not samples:
                forward(model, taken)
            samples += len(taken)
            if samples >= MAX_SAMPLES:
                break
    finally:
        for handle in handles:
            handle.remove()
    if not samples:
        raise BadInputError("there are no samples to check the inputs by", "the calibration data are empty", "give at least 64 samples")
    return found, samples


def _check_finite(batch: Tensor, before: int) -> None:
    bad = (~torch.isfinite(batch)).flatten(1).any(1) if batch.dim() > 1 else ~torch.isfinite(batch)
    if bad.any():
        raise BadInputError(f"sample {before + int(bad.nonzero()[0])} holds NaN or infinity", f"{int(bad.sum())} of {len(batch)} here do",
                            "mend or drop those samples")


def _compare(name: str, norm: Any, moments: _Moments, samples: int) -> InputWarning | None:
    mean = moments.total / moments.count
    variance = (moments.squares / moments.count - mean.square()).clamp(min=0)
    stored = norm.running_var.double() + norm.eps  # eps on both sides, so that dead channels compare as equal
    shift = float(((mean - norm.running_mean.double()).abs() / stored.sqrt()).mean())
    log2_ratio = torch.log2((variance + norm.eps) / stored)
    spread, ratio = float(log2_ratio.abs().mean()), float(2 ** log2_ratio.mean())
    if shift <= MAX_SHIFT and spread <= MAX_LOG2_RATIO:
        return None
    many = f"{samples} samples" if samples > 1 else "1 sample"
    text = (f"the inputs don't look like the training inputs: at {name}, the variance of {many} is {ratio:.3g} times that of training, and "
            f"the mean is off by {shift:.3g} standard deviations; check the normalisation (--recipe)")
    return InputWarning("mismatch", name, text, samples, shift, ratio)
