"""What the stock route says when it can't work."""
from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from edgelr.errors import BadInputError, UnsupportedError, UsageError
from edgelr.export.stock import child, stock_onnx, stock_tflite

SHAPE = (3, 8, 8)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "find_spec", lambda name: object())


@pytest.fixture
def scratch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def tiny() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5))


@pytest.mark.parametrize(("convert", "package"), [(stock_tflite, "litert_torch"), (stock_onnx, "onnxscript")])
def test_a_missing_extra_is_named_with_what_installs_it(
    convert: Callable[..., bytes], package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "find_spec", lambda name: None)
    with pytest.raises(UsageError) as error:
        convert(tiny(), [torch.zeros(1, *SHAPE)], SHAPE)
    assert package in error.value.why and error.value.try_ == "pip install 'edgelr[stock]'"


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(("batches", "says"), [([], "no calibration sample"), ([torch.zeros(2, 3, 9, 8)], "doesn't fit")])
def test_calibration_that_cannot_be_used_is_refused_before_any_work(batches: list[Tensor], says: str, scratch: Path) -> None:
    with pytest.raises(BadInputError, match=says):
        stock_tflite(tiny(), batches, SHAPE)
    assert not list(scratch.glob("edgelr-*"))


@pytest.mark.usefixtures("installed")
def test_a_network_that_cannot_be_captured_is_told_in_words(scratch: Path) -> None:
    class Branching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(UnsupportedError, match="can't convert this network"):
        stock_onnx(Branching(), [torch.zeros(1, *SHAPE)], SHAPE)
    assert not list(scratch.glob("edgelr-*"))


@pytest.mark.usefixtures("installed")
def test_a_converter_that_takes_too_long_is_stopped_and_leaves_nothing(scratch: Path) -> None:
    with pytest.raises(UnsupportedError) as error:
        stock_onnx(tiny(), [torch.zeros(1, *SHAPE)], SHAPE, wait_s=0.05)
    assert "stopped after 0.05 s" in error.value.why
    assert not list(scratch.glob("edgelr-*"))


@pytest.mark.usefixtures("installed")
def test_a_converter_that_fails_hands_its_message_on_and_prints_nothing(scratch: Path, capfd: pytest.CaptureFixture[str]) -> None:
    class Complex(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.linalg.eigvals(x).abs()

    with pytest.raises(UnsupportedError) as error:
        stock_onnx(Complex(), [torch.randn(1, *SHAPE)], SHAPE)
    assert error.value.why and "its process ended" not in error.value.why
    assert capfd.readouterr() == ("", "")
    assert not list(scratch.glob("edgelr-*"))
