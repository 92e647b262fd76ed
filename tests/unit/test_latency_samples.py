"""Files made from keys alone: cut again, they give the same keys."""
from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from edgelr.errors import UnsupportedError
from edgelr.export import onnx_bytes
from edgelr.graph import capture
from edgelr.latency.cut import cut_operators
from edgelr.latency.grid import grid
from edgelr.latency.loops import layer_of
from edgelr.latency.operation import Operation
from edgelr.latency.samples import sample
from edgelr.quantization import Quantized, quantize
from edgelr.vocabulary import Format, Kept, Numbers

BOTH = """
conv int8 1x8x8x16 1x8x8x32 3x3 1x1 1 none -
conv int8 1x8x8x16 1x4x4x32 3x3 2x2 1 none -
conv int8 1x9x9x16 1x4x4x32 3x3 2x2 1 none -
conv int8 1x8x8x16 1x8x8x32 3x3 1x1 1 none dilation2
conv int8 1x8x8x16 1x8x8x32 3x3 1x1 4 none -
conv int8 1x8x8x16 1x8x8x24 3x1 1x1 1 none -
conv float 1x8x8x16 1x8x8x32 1x1 1x1 1 relu6 -
conv float 1x8x8x16 1x8x8x32 3x3 1x1 1 relu -
conv float 1x8x8x16 1x8x8x32 3x3 1x1 1 none -
conv float 1x8x8x3 1x4x4x32 3x3 2x2 1 none -
depthwise int8 1x8x8x16 1x8x8x16 3x3 1x1 16 none -
depthwise float 1x8x8x16 1x4x4x16 5x5 2x2 16 relu6 -
conv_transpose float 1x4x4x8 1x8x8x8 2x2 2x2 1 none -
linear int8 1x64 1x10 1x1 1x1 1 none -
linear int8 1x49x64 1x49x10 1x1 1x1 1 none -
linear float 1x64 1x10 1x1 1x1 1 relu -
linear float 1x49x64 1x49x10 1x1 1x1 1 none -
linear dynamic 1x64 1x10 1x1 1x1 1 none -
linear dynamic 1x49x64 1x49x10 1x1 1x1 1 none -
matmul int8 1x4x49x16,1x4x16x49 1x4x49x49 1x1 1x1 1 none -
matmul float 1x4x49x16,1x4x49x16 1x4x49x49 1x1 1x1 1 none turn_b
add int8 1x8x8x16,1x8x8x16 1x8x8x16 1x1 1x1 1 none -
add float 1x49x16,1x49x16 1x49x16 1x1 1x1 1 none -
add int8 1x8x8x16 1x8x8x16 1x1 1x1 1 none constant1x1x1x16
add float 1x8x8x16 1x8x8x16 1x1 1x1 1 none constant1
mul int8 1x8x8x16,1x1x1x16 1x8x8x16 1x1 1x1 1 none -
mul float 1x49x16 1x49x16 1x1 1x1 1 none twice
sub float 1x49x16,1x49x1 1x49x16 1x1 1x1 1 none -
maxpool int8 1x8x8x16 1x4x4x16 2x2 2x2 1 none -
maxpool float 1x8x8x16 1x4x4x16 3x3 2x2 1 none -
mean int8 1x8x8x16 1x1x1x16 1x1 1x1 1 none axes1x2
mean float 1x8x8x16 1x1x1x16 1x1 1x1 1 none axes1x2
softmax int8 1x10 1x10 1x1 1x1 1 none -
softmax float 1x4x49x49 1x4x49x49 1x1 1x1 1 none -
tanh float 1x64 1x64 1x1 1x1 1 none -
gelu float 1x49x64 1x49x64 1x1 1x1 1 none -
leaky_relu int8 1x8x8x16 1x8x8x16 1x1 1x1 1 none -
relu float 1x8x8x16 1x8x8x16 1x1 1x1 1 none -
requantize int8 1x8x8x16 1x8x8x16 1x1 1x1 1 none -
quantize int8 1x8x8x16 1x8x8x16 1x1 1x1 1 none -
dequantize int8 1x64 1x64 1x1 1x1 1 none -
concat int8 1x8x8x16,1x8x8x8 1x8x8x24 1x1 1x1 1 none axis3
slice float 1x49x16 1x1x16 1x1 1x1 1 none -
split float 1x64 1x48 1x1 1x1 1 none axis1into48x16
resize_nearest int8 1x8x8x16 1x16x16x16 1x1 1x1 1 none -
resize_bilinear float 1x8x8x16 1x16x16x16 1x1 1x1 1 none -
transpose int8 1x8x8x16 1x16x8x8 1x1 1x1 1 none perm0312
transpose float 20x1x64 1x20x64 1x1 1x1 1 none perm102
reshape int8 1x2x2x16 1x64 1x1 1x1 1 none -
lstm float 1x20x16 1x20x32 1x1 1x1 1 none -
lstm dynamic 1x20x16 1x20x32 1x1 1x1 1 none -
""".strip().splitlines()
ONE: dict[Format, list[str]] = {
    "tflite": ["pad int8 1x8x8x16 1x10x10x16 1x1 1x1 1 none -", "lut int8 1x64 1x64 1x1 1x1 1 none -",
               "gelu int8 1x49x64 1x49x64 1x1 1x1 1 none -", "mean float 1x49x16 1x49x1 1x1 1x1 1 none axes2",
               "rsqrt float 1x49x1 1x49x1 1x1 1x1 1 none -", "conv int8 1x1x10x3 1x1x8x4 1x3 1x1 1 none -",
               "conv_transpose int8 1x4x4x8 1x8x8x8 2x2 2x2 1 none -", "reverse float 1x20x64 1x20x64 1x1 1x1 1 none axis1",
               "maximum float 1x8x8x16 1x8x8x16 1x1 1x1 1 none constant1",
               "loop float 20x64,20x16,1x16,1x16 1 1x1 1x1 1 none turns4of5x16x64",
               "loop dynamic 20x48,1x16 1 1x1 1x1 1 none turns4of5x16x8+5x8x48"],
    "onnx": ["sigmoid int8 1x1x1x16 1x1x1x16 1x1 1x1 1 none -", "biasgelu float 1x50x64 1x50x64 1x1 1x1 1 none -",
             "gru float 1x20x16 1x20x32 1x1 1x1 1 none -", "layer_norm float 1x49x16 1x49x16 1x1 1x1 1 none axes2",
             "conv int8 1x10x3 1x8x4 1x3 1x1 1 none -", "conv float 1x10x3 1x8x4 1x3 1x1 1 none -",
             "loop float 1x16,1x16,1x64 1x16 1x1 1x1 1 none turns20of1x16x64",
             "loop dynamic 1x16,1x48 1x16 1x1 1x1 1 none turns7of1x16x48",
             "identity float 1x64 1x64 1x1 1x1 1 none -", "clip float 1x8x8x16 1x8x8x16 1x1 1x1 1 none -"],
}  # fmt: skip
def of_channels(c: int) -> Quantized:
    graph = capture(nn.Sequential(nn.Conv2d(3, c, 1), nn.Conv2d(c, c, 3, padding=1, groups=c), nn.Conv2d(c, 8, 1)).eval(), (3, 8, 8))
    floats = {n.name: Kept("float", "choice", "") for n in graph.nodes}
    return quantize(graph, dict.fromkeys(graph.shapes, (-4.0, 4.0)), floats)


CASES = [(f, line) for f in ("tflite", "onnx") for line in (*BOTH, *ONE[f])]  # type: ignore[index]


@pytest.mark.parametrize(("format", "line"), CASES)
def test_a_sample_holds_its_operation_alone_and_is_the_same_each_time(format: Format, line: str) -> None:
    operation = Operation.parse(line)
    data = sample(operation, format)
    assert [str(c.operation) for c in cut_operators(data, format)] == [line]
    assert sample(operation, format) == data


@pytest.mark.parametrize("format", ["tflite", "onnx"])
@pytest.mark.parametrize("numbers", ["float", "dynamic"])
def test_every_loop_of_the_grid_can_be_made(format: Format, numbers: Numbers) -> None:
    loops = [o for o in grid(format, numbers) if o.op == "loop" and layer_of(o).hidden <= 128]
    assert len({(layer_of(o).steps, layer_of(o).gates, layer_of(o).last, layer_of(o).products) for o in loops}) == len(loops) > 30
    assert [[c.operation for c in cut_operators(sample(o, format), format)] for o in loops] == [[o] for o in loops]


@pytest.mark.parametrize(("line", "kernel"), [
    ("maxpool int8 1x8x8x16 1x4x4x16 2x2 2x2 1 none -", "NhwcMaxPool"),
    ("mean int8 1x8x8x16 1x1x1x16 1x1 1x1 1 none axes1x2", "channels_last"),
])  # fmt: skip
def test_samples_have_the_kernels_that_stand_between_convolutions(line: str, kernel: str) -> None:
    """ONNX Runtime's uint8 MaxPool takes 1.4 ms where NhwcMaxPool takes 0.015 ms (ResNet-18's at 112 pixels)."""
    assert kernel.encode() in sample(Operation.parse(line), "onnx")


@pytest.mark.parametrize("channels", [8, 16, 24])
def test_blocked_samples_tell_the_channels_that_were_asked_for(channels: int) -> None:
    """ONNX Runtime fills channels up to whole blocks on x86-64."""
    operation = Operation.parse(f"conv float 1x8x8x{channels} 1x8x8x{channels} 3x3 1x1 1 relu -")
    data = sample(operation, "onnx", blocked=True)
    assert [c.operation.op for c in cut_operators(data, "onnx", blocked=True)] == ["conv"]


@pytest.mark.parametrize("channels", [88, 96])
def test_a_blocked_depthwise_convolution_has_its_own_channels(channels: int) -> None:
    """Of 88 ONNX Runtime makes 96 groups: taken for a grouped convolution it was priced at a tenth."""
    data = onnx_bytes(of_channels(channels))
    found = [str(c.operation) for c in cut_operators(data, "onnx", blocked=True) if c.operation.kernel == (3, 3)]
    assert found == [f"depthwise float 1x8x8x{channels} 1x8x8x{channels} 3x3 1x1 {channels} none -"]


class Fire(nn.Module):
    """SqueezeNet's: two convolutions of one input, joined."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.squeeze = nn.Conv2d(16, 32, 1), nn.Conv2d(16, 48, 3, padding=1), nn.Conv2d(80, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.squeeze(torch.cat([self.a(x), self.b(x)], 1))
        return result


@pytest.mark.parametrize("blocked", [False, True])
def test_what_joins_channels_gives_them_all(blocked: bool) -> None:
    """Its reader was told the first part's channels alone in ONNX Runtime's blocked layout, and priced at half."""
    graph = capture(Fire().eval(), (16, 8, 8))
    floats = {n.name: Kept("float", "choice", "") for n in graph.nodes}
    data = onnx_bytes(quantize(graph, dict.fromkeys(graph.shapes, (-4.0, 4.0)), floats))
    found = [str(c.operation) for c in cut_operators(data, "onnx", blocked=blocked)]
    assert "concat float 1x8x8x32,1x8x8x48 1x8x8x80 1x1 1x1 1 none axis3" in found
    assert "conv float 1x8x8x80 1x8x8x16 1x1 1x1 1 none -" in found


@pytest.mark.parametrize(("format", "line"), [
    ("onnx", "conv_transpose int8 1x4x4x8 1x8x8x8 2x2 2x2 1 none -"), ("onnx", "gelu int8 1x49x64 1x49x64 1x1 1x1 1 none -"),
    ("tflite", "loop float 20x64,20x16,1x16,1x16 1 1x1 1x1 1 none turns20of1x16x64"),
    ("onnx", "loop float 1x16,1x16,1x64 1x16 1x1 1x1 1 none -"), ("onnx", "loop float 1x16,1x16,1x64 1x16 1x1 1x1 1 none turns4of1x8x64"),
    ("tflite", "loop float 1x16,1x16,1x64 1x16 1x1 1x1 1 none turns20of1x16x64"),
    ("tflite", "gru float 1x20x16 1x20x32 1x1 1x1 1 none -"), ("tflite", "add float 1 1 1x1 1x1 1 none index"),
    ("tflite", "conv float 1x8x8x16 1x8x8x32 3x3 1x1 1 clip -"), ("onnx", "dance int8 1x4 1x4 1x1 1x1 1 none -"),
    ("tflite", "conv int8 1x8x8x16 1x99x8x32 3x3 1x1 1 none wobbly"), ("onnx", "concat int8 1x8x8x16 1x8x8x24 1x1 1x1 1 none -"),
])  # fmt: skip
def test_what_can_t_be_made_alone_is_refused(format: Format, line: str) -> None:
    with pytest.raises(UnsupportedError):
        sample(Operation.parse(line), format)
