"""One .wav file as a waveform."""
from __future__ import annotations

import math
import wave
from pathlib import Path

import numpy as np

from edgelr.data.split import Array
from edgelr.errors import BadInputError

MAX_SECONDS = 600


def read_sound(path: Path, sample_rate: int) -> Array:
    """float32 [samples] in [-1, 1), channels averaged, brought to ``sample_rate`` (Hz) by a polyphase filter where the file has another.

    Raises BadInputError: not a PCM .wav of 8, 16 or 32 bits, truncated, empty, longer than MAX_SECONDS.
    """
    try:
        with wave.open(str(path), "rb") as file:
            channels, width, rate, frames = file.getnchannels(), file.getsampwidth(), file.getframerate(), file.getnframes()
            if rate <= 0 or not 0 < frames <= MAX_SECONDS * rate:
                raise wave.Error(f"{frames} samples at {rate} Hz; from 1 sample to {MAX_SECONDS} seconds are read")
            raw = file.readframes(frames)
    except (wave.Error, EOFError, OSError, ValueError) as error:
        raise BadInputError("the sound can't be read", str(error)[:200] or "the file ends early", "save it as PCM .wav, 16 bits") from error
    if width not in (1, 2, 4):
        raise BadInputError(f"the sound has {8 * width} bits a sample", "8, 16 and 32 are read", "save it as PCM .wav, 16 bits")
    if len(raw) != frames * channels * width:
        announced = frames * channels * width
        raise BadInputError("the sound is truncated", f"{len(raw)} bytes where {announced} are announced", "mend or remove it")
    values = np.frombuffer(raw, {1: "u1", 2: "<i2", 4: "<i4"}[width]).astype(np.float64)
    values = (values - 128) / 128 if width == 1 else values / 2.0 ** (8 * width - 1)
    mono = values.reshape(-1, channels).mean(1)
    if rate != sample_rate:
        from scipy.signal import resample_poly

        common = math.gcd(rate, sample_rate)
        mono = resample_poly(mono, sample_rate // common, rate // common)
    return np.asarray(mono, np.float32)
