"""CIFAR-10 (JPEG copy) to train on: decoded once, kept as bytes, cropped and flipped by seed; and the nets that the tables start from."""

from __future__ import annotations

import importlib.util
import io
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_data import CIFAR_MEAN, CIFAR_STD
from bench_table import tell
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from edgelr.data import Data, Split
from edgelr.pipeline.training import recipes
from edgelr.training import PLAIN, Batch, Progress, Schedule, forward_of, supervised

BATCH = 128
SELECTION, CALIBRATION = 5_000, 512


@dataclass(frozen=True, eq=False)
class Images:
    """Bytes [N, 3, 32, 32] and class numbers [N] of one part; ``split`` gives them as a network takes them."""

    x: np.ndarray[Any, Any]
    y: np.ndarray[Any, Any]

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: Any) -> Any:
        return normalised(torch.from_numpy(np.ascontiguousarray(self.x[index]))).numpy()

    def first(self, count: int) -> Images:
        return Images(self.x[:count], self.y[:count])

    def split(self, labelled: bool = True) -> Split:
        return Split(self, self.y if labelled else None)


@dataclass(frozen=True)
class Cifar:
    """``train`` 45,000 images; ``selection`` 5,000 of the training file that no net is trained on; ``test`` the test file."""

    train: Images
    selection: Images
    test: Images

    def data(self, test: int) -> Data:
        """For the pipeline: calibration on training images."""
        return Data(
            validation=self.selection.split(),
            test=self.test.first(test).split(),
            calibration=self.train.first(CALIBRATION).split(),
            name="CIFAR-10 (JPEG copy)",
        )


def normalised(x: Tensor) -> Tensor:
    """Bytes [N, 3, 32, 32] as float32 of mean 0 and deviation 1 a channel."""
    mean, deviation = (torch.tensor(v).reshape(3, 1, 1) for v in (CIFAR_MEAN, CIFAR_STD))
    return ((x.float() / 255 - mean) / deviation).contiguous()


def read(shared: Path, cache: Path) -> Cifar:
    """All images, decoded once into ``cache``; parts as the nets' own (2026), in an order of seed 0."""
    file = cache / "cifar10.npz"
    if not file.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        parts = {part: _decoded(shared / "data" / f"cifar10_{part}_jpeg.npz") for part in ("train", "test")}
        np.savez(file.with_suffix(".new.npz"), **{f"{k}_{p}": v for p, xy in parts.items() for k, v in zip("xy", xy, strict=True)})
        file.with_suffix(".new.npz").replace(file)
    with np.load(file) as held:
        x, y, x_test, y_test = (held[k] for k in ("x_train", "y_train", "x_test", "y_test"))
    kept = torch.randperm(50_000, generator=torch.Generator().manual_seed(2026))[:SELECTION].numpy()
    rng = np.random.default_rng(0)
    seen = rng.permutation(np.setdiff1d(np.arange(50_000), kept))
    tested = rng.permutation(len(x_test))
    return Cifar(Images(x[seen], y[seen]), Images(x[kept], y[kept]), Images(x_test[tested], y_test[tested]))


def _decoded(file: Path) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    from PIL import Image

    with np.load(file) as held:
        blob, offsets, labels = held["blob"], held["offsets"], held["labels"].astype(np.int64)
    opened = (Image.open(io.BytesIO(blob[a:b].tobytes())) for a, b in itertools.pairwise(offsets))
    return np.stack([np.asarray(image.convert("RGB")).transpose(2, 0, 1) for image in opened]), labels


@dataclass(frozen=True, eq=False)
class Draws:
    """Batches of ``count`` images an epoch, drawn anew from all of them each epoch; shifted by up to 4 pixels and flipped, by seed."""

    images: Images
    count: int
    seed: int = 0

    def __len__(self) -> int:
        return max(1, self.count // BATCH)

    def epoch(self, number: int) -> Iterator[Batch]:
        order = np.random.default_rng((self.seed, number)).permutation(len(self.images))
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
        for i in range(len(self)):
            chosen = order[i * BATCH : (i + 1) * BATCH]
            yield augmented(normalised(torch.from_numpy(self.images.x[chosen])), generator), torch.from_numpy(self.images.y[chosen])


def augmented(x: Tensor, generator: torch.Generator) -> Tensor:
    """Each image shifted by up to 4 pixels over zeros, every second one flipped: He et al. 2016."""
    n, _, h, w = x.shape
    padded = F.pad(x, (4, 4, 4, 4))
    top, left = torch.randint(0, 9, (2, n, 1, 1), generator=generator)
    flip = torch.rand(n, 1, 1, generator=generator) < 0.5
    columns = torch.arange(w).expand(n, 1, w)
    columns = torch.where(flip, w - 1 - columns, columns) + left
    rows = torch.arange(h).reshape(1, h, 1) + top
    return padded[torch.arange(n).reshape(n, 1, 1, 1), torch.arange(3).reshape(1, 3, 1, 1), rows[:, None], columns[:, None]]


def module_of(file: Path) -> Any:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def base(name: str, shared: Path, cache: Path, cifar: Cifar) -> nn.Module:
    """The dense network of a table, trained: given, or trained here once and kept in ``cache``."""
    resnet, vgg = (module_of(shared / "models" / f"{m}_cifar.py") for m in ("resnet", "vgg"))
    given: dict[str, tuple[Callable[[], nn.Module], str]] = {
        "resnet20": (resnet.resnet20, "resnet20_cifar10"),
        "vgg16": (vgg.vgg16, "vgg16_cifar10"),
    }
    if name in given:
        build, weights = given[name]
        net = build()
        net.load_state_dict(load_file(shared / "models" / f"{weights}.safetensors"))
        return net.eval()
    net = {"resnet8": lambda: resnet.ResNet(1), "resnet14": lambda: resnet.ResNet(2), "resnet32": resnet.resnet32}[name]()
    file = cache / f"{name}.safetensors"
    if not file.is_file():
        torch.manual_seed(0)
        start = time.perf_counter()
        if name == "resnet8":
            fit(net, cifar, epochs=10, rate=0.1)
        else:  # from the shallower one: two epochs instead of the tens that it takes from nothing
            grow(net, base({"resnet14": "resnet8", "resnet32": "resnet20"}[name], shared, cache, cifar))
            fit(net, cifar, epochs=2, rate=0.05)
        seconds = time.perf_counter() - start
        save_file({k: v.contiguous() for k, v in net.state_dict().items()}, file, {"seconds": f"{seconds:.0f}"})
    net.load_state_dict(load_file(file))
    return net.eval()


def grow(net: Any, shallower: Any) -> None:
    """Make a deeper ResNet compute what a shallower one does: blocks are taken over, new ones add nothing until they are trained."""
    state = shallower.state_dict()
    per, own = len(net.blocks) // 3, len(shallower.blocks) // 3
    for at, block in enumerate(net.blocks):
        stage, position = divmod(at, per)
        if position < own:
            block.load_state_dict(shallower.blocks[stage * own + position].state_dict())
        else:
            nn.init.zeros_(block.bn2.weight)
    net.load_state_dict({k: v for k, v in state.items() if not k.startswith("blocks.")}, strict=False)


def fit(net: nn.Module, cifar: Cifar, epochs: int, rate: float) -> None:
    """Plain training on all 45,000 images."""

    def told(progress: Progress) -> None:
        tell(f"dense: {progress}")

    schedule = Schedule(epochs, "sgd", weight_decay=5e-4)
    recipes.fit(net, loss_of, Draws(cifar.train, len(cifar.train)), schedule, rate, PLAIN, told)


def loss_of(net: nn.Module) -> Callable[[Batch], Tensor]:
    """Cross entropy with the labels; the network in bfloat16 where the processor has it."""
    return supervised(forward_of(net), None, "scores")
