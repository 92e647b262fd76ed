"""The steps that a recipe is made of. Each takes an array and its own numbers from the recipe file."""
from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, Protocol

import numpy as np

from edgelr.data.split import Array
from edgelr.errors import BadInputError


class Step(Protocol):
    def __call__(self, sample: Array) -> Array: ...


@dataclass(frozen=True)
class Resize:
    """Bring the shorter side to ``shorter`` pixels, keeping the proportions. Images of ``unless`` x ``unless`` are left as they are."""

    shorter: int
    unless: int = 0
    filter: Literal["bilinear", "bicubic", "nearest"] = "bilinear"

    def __call__(self, sample: Array) -> Array:
        from PIL import Image

        height, width = sample.shape[:2]
        if min(height, width) == self.shorter or (height, width) == (self.unless, self.unless):
            return sample
        scale = self.shorter / min(height, width)
        size = (max(self.shorter, round(width * scale)), max(self.shorter, round(height * scale)))
        if sample.dtype != np.uint8:
            raise BadInputError("resize takes uint8 pixels", f"it got {sample.dtype}", "put it before scale and normalise")
        flat = sample[:, :, 0] if sample.shape[2] == 1 else sample
        filters = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC, "nearest": Image.Resampling.NEAREST}
        return np.asarray(Image.fromarray(flat).resize(size, filters[self.filter])).reshape(size[1], size[0], sample.shape[2])


@dataclass(frozen=True)
class CentreCrop:
    """Cut the middle ``size`` x ``size`` pixels."""

    size: int

    def __call__(self, sample: Array) -> Array:
        height, width = sample.shape[:2]
        if min(height, width) < self.size:
            raise BadInputError(f"an image of {height}x{width} is smaller than the crop of {self.size}", "", "resize it before")
        top, left = (height - self.size) // 2, (width - self.size) // 2
        return sample[top: top + self.size, left: left + self.size]


@dataclass(frozen=True)
class Scale:
    """(x - subtract) / divide, in float32."""

    divide: float
    subtract: float = 0.0

    def __call__(self, sample: Array) -> Array:
        return (sample.astype(np.float32) - np.float32(self.subtract)) / np.float32(self.divide)


@dataclass(frozen=True)
class Normalise:
    """(x - mean) / std for each channel (the last axis: before ``layout``)."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, sample: Array) -> Array:
        if sample.shape[-1] != len(self.mean):
            raise BadInputError(f"normalise has {len(self.mean)} channels", f"the sample has shape {sample.shape}, channels last here",
                                "put layout after normalise, and give as many means as channels")
        return np.divide(sample.astype(np.float32) - np.array(self.mean, np.float32), np.array(self.std, np.float32))


@dataclass(frozen=True)
class Layout:
    """Bring height, width, channels into the network's order: "chw" is torch's."""

    order: Literal["chw", "hwc"]

    def __call__(self, sample: Array) -> Array:
        return np.ascontiguousarray(sample.transpose(2, 0, 1)) if self.order == "chw" else sample


@dataclass(frozen=True)
class Length:
    """Cut or zero-pad a sound at its end to ``seconds`` at ``sample_rate``."""

    seconds: float
    sample_rate: int

    def __call__(self, sample: Array) -> Array:
        count = round(self.seconds * self.sample_rate)
        return np.pad(sample[:count], (0, max(0, count - len(sample))))


@dataclass(frozen=True)
class LogMel:
    """Logarithm of mel-band energies: [1, mels, frames], frames = 1 + (samples - window) // hop, nothing padded.

    Hann window, power spectrum, triangular filters evenly spaced on the mel scale of HTK, mel = 2595 log10(1 + f / 700) (Young et al.,
    The HTK Book, section 5.4), each of height 1; then ln(max(energy, floor)).
    """

    sample_rate: int
    window_ms: float
    hop_ms: float
    mels: int
    low_hz: float = 20.0
    high_hz: float = 0.0  # 0: half the sample rate
    floor: float = 1e-6

    def __call__(self, sample: Array) -> Array:
        window, hop = round(self.window_ms * self.sample_rate / 1000), round(self.hop_ms * self.sample_rate / 1000)
        if len(sample) < window:
            raise BadInputError(f"a sound of {len(sample)} samples is shorter than one window of {window}", "", "add a length step before")
        frames = np.lib.stride_tricks.sliding_window_view(sample.astype(np.float64), window)[::hop]
        bins = 1 << (window - 1).bit_length()
        power = np.abs(np.fft.rfft(frames * np.hanning(window + 1)[:-1], bins)) ** 2
        bands = power @ mel_filters(self.sample_rate, bins, self.mels, self.low_hz, self.high_hz or self.sample_rate / 2).T
        return np.asarray(np.log(np.maximum(bands, self.floor)).T[None], np.float32)


@cache
def mel_filters(sample_rate: int, bins: int, mels: int, low_hz: float, high_hz: float) -> Array:
    """[mels, bins // 2 + 1] triangles: from the centre of the band below to that of the band above."""
    def mel(hz: Any) -> Any:
        return 2595 * np.log10(1 + np.asarray(hz) / 700)

    edges = np.linspace(mel(low_hz), mel(high_hz), mels + 2)
    at = mel(np.fft.rfftfreq(bins, 1 / sample_rate))
    rise, fall = (at - edges[:-2, None]) / np.diff(edges)[:-1, None], (edges[2:, None] - at) / np.diff(edges)[1:, None]
    return np.asarray(np.maximum(0, np.minimum(rise, fall)))


STEPS: dict[str, type[Any]] = {"resize": Resize, "centre-crop": CentreCrop, "scale": Scale, "normalise": Normalise, "layout": Layout,
                               "length": Length, "log-mel": LogMel}
