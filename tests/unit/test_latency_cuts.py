"""Operations of written files: their names and their keys, the same in both formats."""
from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
import torch
from cut_sample import cuts, written
from export_sample import sample, sample_1d
from torch import Tensor, nn

from edgelr.devices import open_session
from edgelr.errors import BadInputError
from edgelr.export import onnx_bytes, tflite_bytes
from edgelr.latency.cut import Cut, cut_operators
from edgelr.latency.gauges import CHAINED, own_us
from edgelr.latency.operation import Operation
from edgelr.vocabulary import Format

LAYERS = [
    "stem conv int8 1x4x4x3 1x4x4x8 3x3 1x1 1 none -",
    "side conv int8 1x4x4x8 1x4x4x4 1x1 1x1 1 none -",
    "deep depthwise int8 1x4x4x8 1x4x4x8 3x3 1x1 8 none -",
    "add add int8 1x4x4x8,1x4x4x8 1x4x4x8 1x1 1x1 1 none -",
    "cat concat int8 1x4x4x8,1x4x4x4 1x4x4x12 1x1 1x1 1 none axis3",
    "max_pool2d maxpool int8 1x4x4x12 1x2x2x12 2x2 2x2 1 none -",
    "head linear int8 1x48 1x5 1x1 1x1 1 none -",
]


@cache
def of_sample(format: Format) -> list[Cut]:
    return cuts(tflite_bytes(sample()) if format == "tflite" else onnx_bytes(sample()), format)


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_every_layer_has_its_name_and_the_same_key_in_both_formats(format: Format) -> None:
    assert set(LAYERS) <= {f"{c.name} {c.operation}" for c in of_sample(format)}


def test_an_onnx_has_besides_what_stands_at_its_ends_and_changes_of_layout() -> None:
    names = {line.split()[0] for line in LAYERS}
    rest = [c.operation.op for c in of_sample("onnx") if c.name not in names]
    assert rest == ["quantize", "transpose", "reshape", "dequantize"]


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_a_convolution_over_one_axis_is_told_with_its_channels_last(format: Format) -> None:
    data = tflite_bytes(sample_1d()) if format == "tflite" else onnx_bytes(sample_1d())
    (conv,) = [c.operation for c in cuts(data, format) if c.operation.op == "conv"]
    assert str(conv) == {"tflite": "conv int8 1x1x10x3 1x1x8x4 1x3 1x1 1 none -", "onnx": "conv int8 1x10x3 1x8x4 1x3 1x1 1 none -"}[format]


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_pads_belong_to_the_convolution_that_they_are_for(format: Format) -> None:
    data = written(nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU()), (3, 8, 8), format)
    found = [c for c in cuts(data, format) if c.operation.op in ("pad", "conv")]
    assert [f"{c.name} {c.operation}" for c in found] == ["0 conv int8 1x8x8x3 1x4x4x8 3x3 2x2 1 none -"]


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_fused_bounds_are_told_in_float(format: Format) -> None:
    net = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 1), nn.ReLU6(), nn.Conv2d(16, 4, 1))
    data = written(net, (3, 8, 8), format, "float")
    told = {c.name: c.operation.activation for c in cuts(data, format) if c.operation.op == "conv"}
    assert told == {"0": "relu", "2": "relu6", "4": "none"}
    assert all(c.operation.op not in ("relu", "relu6") for c in cuts(data, format))


def test_onnx_runtime_adds_a_shortcut_inside_of_its_float_convolution() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(4, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            y = self.a(x)
            return (y + self.b(y)).relu()

    found = cuts(written(Block(), (4, 8, 8), "onnx", "float"), "onnx")
    told = [(c.name, c.operation.op, len(c.operation.inputs), c.operation.activation) for c in found]
    assert told == [("a", "conv", 1, "none"), ("b", "conv", 1, "relu")]


class Between(nn.Module):
    """A function between two convolutions."""

    def __init__(self, between: Callable[[Tensor], Tensor], twice: bool = False) -> None:
        super().__init__()
        self.a, self.b, self.c, self.between, self.twice = (*(nn.Conv2d(16, 16, 1) for _ in range(3)), between, twice)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.a(x)
        result: Tensor = self.b(self.between(y))
        return result + self.c(torch.sigmoid(y)) if self.twice else result


@pytest.mark.parametrize(("between", "words"), [
    (torch.sigmoid, ["lut"]),
    (lambda y: torch.sigmoid(y) * 1.1 + 0.5, ["lut"]),
    (lambda y: y * torch.sigmoid(y), ["lut"]),
    (lambda y: y + torch.tanh(y), ["lut"]),
    (nn.functional.hardswish, ["lut"]),
    (lambda y: torch.tanh(y * torch.sigmoid(y)), ["lut"]),
    (lambda y: torch.tanh(y).square(), ["lut"]),
    (lambda y: (lambda z: z * torch.sigmoid(z))(torch.tanh(y)), ["lut", "lut"]),
    (lambda y: torch.tanh(y * y), ["mul", "lut"]),
    (lambda y: y * y * y, ["mul", "mul"]),
    (lambda y: nn.functional.leaky_relu(y, 0.1) * torch.sigmoid(y), ["leaky_relu", "lut", "mul"]),
    (lambda y: nn.functional.leaky_relu(y, 0.1), ["leaky_relu"]),
])  # fmt: skip
def test_a_function_of_one_integer_value_is_one_operation_in_xnnpack(between: Callable[[Tensor], Tensor], words: list[str]) -> None:
    found = cuts(written(Between(between), (16, 8, 8), "tflite"), "tflite")
    assert [c.operation.op for c in found] == ["conv", *words, "conv"]
    session = open_session(found[-2].data, "tflite", 1)  # the cut runs by itself, with what was merged into it
    session.invoke()
    session.close()


def test_functions_that_others_read_as_well_are_operations_of_their_own() -> None:
    found = cuts(written(Between(lambda y: y * torch.sigmoid(y), twice=True), (16, 8, 8), "tflite"), "tflite")
    assert sorted(c.operation.op for c in found) == ["add", "conv", "conv", "conv", "lut", "lut"]
    floats = cuts(written(Between(lambda y: y * torch.sigmoid(y)), (16, 8, 8), "tflite", "float"), "tflite")
    assert [c.operation.op for c in floats] == ["conv", "sigmoid", "mul", "conv"]


def test_an_operation_takes_what_its_file_does_without_the_call_and_never_less_than_a_tiny_one() -> None:
    calls = {"one": 2.5, "chain": 2.5 + 0.25 * (CHAINED - 1)}
    assert own_us(12.25, calls) == pytest.approx(10.0)
    assert own_us(2.3, calls) == own_us(1.0, calls) == pytest.approx(0.25)
    assert own_us(3.0, {"one": 2.5, "chain": 2.4}) == pytest.approx(0.5, abs=0.01)  # noise makes no time negative
    assert own_us(1.0, {"one": 2.5, "chain": 2.4}) == 0.0


@pytest.mark.parametrize("format", ["tflite", "onnx"])
@pytest.mark.parametrize("data", [b"", b"\x1c\x00\x00\x00TFL3" + b"\xff" * 40, b"\x08\x07"])
def test_bytes_that_are_no_network_are_bad_input(format: Format, data: bytes) -> None:
    with pytest.raises(BadInputError):
        list(cut_operators(data, format))


@pytest.mark.parametrize("text", ["", "conv int8 1x2", "conv int9 1 1 1x1 1x1 1 none -", "conv int8 1xa 1 1x1 1x1 1 none -",
                                  "conv int8 1 1 1x1x1 1x1 1 none -", "conv int8 1x-2 1 1x1 1x1 1 none -"])  # fmt: skip
def test_what_is_no_operation_is_refused(text: str) -> None:
    with pytest.raises(BadInputError):
        Operation.parse(text)
