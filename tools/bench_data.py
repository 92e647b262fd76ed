"""The data that benchmarks run on: JPEGs read when they are needed, cut into parts once and for all by seed."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgelr.data import Data, Split

CIFAR_MEAN, CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)  # of pixels in [0, 1], as the nets were trained


class Jpegs:
    """Images ``chosen`` of an .npz (``blob``, ``offsets``, ``labels``): float32 [n, 3, H, W], (pixel - subtract) / divide, pixel 0-255."""

    def __init__(self, file: Path, chosen: np.ndarray[Any, Any], subtract: tuple[float, ...], divide: tuple[float, ...]) -> None:
        with np.load(file) as held:
            self.blob, self.offsets, self.labels = held["blob"], held["offsets"], held["labels"].astype(np.int64)
        self.chosen = chosen
        self.subtract, self.divide = (np.array(v, np.float32).reshape(-1, 1, 1) for v in (subtract, divide))

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, int | np.integer):
            return self._one(self.chosen[index])
        return np.stack([self._one(i) for i in self.chosen[index]])

    def _one(self, i: int) -> np.ndarray[Any, Any]:
        from PIL import Image

        pixels = np.asarray(Image.open(io.BytesIO(self.blob[self.offsets[i] : self.offsets[i + 1]].tobytes())).convert("RGB"))
        return np.asarray((pixels.transpose(2, 0, 1).astype(np.float32) - self.subtract) / self.divide)

    def split(self, labelled: bool = True) -> Split:
        return Split(self, self.labels[self.chosen] if labelled else None)


def cifar10(shared: Path, calibration: int = 512, selection: int = 5_000, test: int = 10_000) -> Data:
    """CIFAR-10 (JPEG copy). Selection on training images that the nets never saw, calibration on images that they did, test for reports."""
    held_out = torch.randperm(50_000, generator=torch.Generator().manual_seed(2026))[:5_000].numpy()
    seen = np.setdiff1d(np.arange(50_000), held_out)
    rng = np.random.default_rng(0)
    scale = tuple(255 * m for m in CIFAR_MEAN), tuple(255 * s for s in CIFAR_STD)
    train, tested = shared / "data" / "cifar10_train_jpeg.npz", shared / "data" / "cifar10_test_jpeg.npz"
    return Data(
        validation=Jpegs(train, held_out[:selection], *scale).split(),
        test=Jpegs(tested, rng.permutation(10_000)[:test], *scale).split(),
        calibration=Jpegs(train, rng.permutation(seen)[:calibration], *scale).split(),
        name="CIFAR-10 (JPEG copy)",
    )


def photos(shared: Path, calibration: int, selection: int, test: int, labelled: bool) -> Data:
    """The 600 ImageNet-like photos as (pixel - 127) / 128, 224 x 224, in three disjoint parts."""
    order = np.random.default_rng(0).permutation(600)
    parts = np.split(order[: calibration + selection + test], np.cumsum([calibration, selection]))
    made = [Jpegs(shared / "data" / "imagenet_like600.npz", p, (127.0,) * 3, (128.0,) * 3).split(labelled) for p in parts]
    return Data(calibration=made[0], validation=made[1], test=made[2], name="600 ImageNet-like photos")
