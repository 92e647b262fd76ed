"""Our files against the stock converters': same network, same calibration samples, held-out inputs."""
from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgelr.devices import open_session
from edgelr.export.onnx_file import onnx_bytes
from edgelr.export.stock import stock_onnx, stock_tflite
from edgelr.export.tflite_file import tflite_bytes
from edgelr.graph import capture
from edgelr.quantization import calibrate

SHAPE = (3, 32, 32)
CALIBRATION, HELD_OUT = 64, 256
SQNR_SLACK_DB = 0.5
TOP1_SLACK = 0.03  # of 256 samples: logits of random networks lie close, and either file may win a tie


def conv(c_in: int, c_out: int, k: int, stride: int = 1, groups: int = 1, act: type[nn.Module] | None = nn.ReLU6) -> nn.Sequential:
    layers = [nn.Conv2d(c_in, c_out, k, stride, k // 2, groups=groups, bias=False), nn.BatchNorm2d(c_out)]
    return nn.Sequential(*layers, *([] if act is None else [act()]))


class Residual(nn.Module):
    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(c_in, c_out, 3, stride, act=nn.ReLU), conv(c_out, c_out, 3, act=None))
        self.shortcut = conv(c_in, c_out, 1, stride, act=None) if stride != 1 or c_in != c_out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


class Inverted(nn.Module):
    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.residual = stride == 1 and c_in == c_out
        hidden = 4 * c_in
        self.body = nn.Sequential(conv(c_in, hidden, 1), conv(hidden, hidden, 3, stride, hidden), conv(hidden, c_out, 1, act=None))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.residual else self.body(x)


def head(channels: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10)]


NETS = {
    "resnet": lambda: nn.Sequential(conv(3, 16, 3, act=nn.ReLU), Residual(16, 16, 1), Residual(16, 32, 2), *head(32)),
    "mobilenet": lambda: nn.Sequential(conv(3, 16, 3, 2), Inverted(16, 16, 1), Inverted(16, 24, 2), Inverted(24, 24, 1), *head(24)),
}


@dataclass(frozen=True)
class File:
    data: bytes
    logits: np.ndarray[Any, Any]
    ops: Counter[str]


@dataclass(frozen=True)
class Pair:
    """Our file, the stock one, and the float network's logits on the held-out samples."""

    ours: File
    stock: File
    reference: np.ndarray[Any, Any]


@pytest.fixture(scope="module", params=[(net, kind) for net in NETS for kind in ("tflite", "onnx")], ids="-".join)
def pair(request: pytest.FixtureRequest) -> Pair:
    net, kind = request.param
    for package in ("litert_torch", "litert_quantizer") if kind == "tflite" else ("onnxscript",):
        pytest.importorskip(package)
    torch.manual_seed(0)
    model = NETS[net]()
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        for _ in range(4):
            model(torch.randn(64, *SHAPE))
        model.eval()
        batches, held_out = list(torch.randn(CALIBRATION, *SHAPE).split(16)), torch.randn(HELD_OUT, *SHAPE)
        reference = model(held_out).numpy()
    q = calibrate(capture(model, SHAPE), batches)
    write, stock = (tflite_bytes, stock_tflite) if kind == "tflite" else (onnx_bytes, stock_onnx)
    files = [File(data, open_session(data, kind, as_meant=True).run(held_out.numpy()), kernels(data, kind))
             for data in (write(q), stock(model, batches, SHAPE))]
    return Pair(*files, reference)


def kernels(data: bytes, kind: Literal["tflite", "onnx"]) -> Counter[str]:
    """Operators by type, those that compute in float marked. ONNX: nodes as written, without Q and DQ."""
    if kind == "onnx":
        import onnx

        return Counter(n.op_type for n in onnx.load_from_string(data).graph.node if n.op_type not in ("QuantizeLinear", "DequantizeLinear"))
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    names = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
    graph = model.subgraphs[0]
    floats = {i for i, t in enumerate(graph.tensors) if t.type == schema.TensorType.FLOAT32}
    return Counter(names[model.operatorCodes[op.opcodeIndex].builtinCode] + (" in float" if floats & {*op.inputs, *op.outputs} else "")
                   for op in graph.operators)


def sqnr_db(reference: np.ndarray[Any, Any], result: np.ndarray[Any, Any]) -> float:
    return float(10 * np.log10(np.square(reference).sum() / np.square(reference - result).sum()))


def same_class(reference: np.ndarray[Any, Any], result: np.ndarray[Any, Any]) -> float:
    return float((reference.argmax(1) == result.argmax(1)).mean())


def test_ours_is_as_exact_as_the_stock_converters(pair: Pair) -> None:
    assert sqnr_db(pair.reference, pair.ours.logits) >= sqnr_db(pair.reference, pair.stock.logits) - SQNR_SLACK_DB
    assert same_class(pair.reference, pair.ours.logits) >= same_class(pair.reference, pair.stock.logits) - TOP1_SLACK


def test_ours_is_no_larger(pair: Pair) -> None:
    assert len(pair.ours.data) <= len(pair.stock.data)


def test_ours_has_the_same_operations_and_none_in_float(pair: Pair) -> None:
    shaping = {"RESHAPE", "Reshape", "Flatten"}  # the stock .tflite lets its last FULLY_CONNECTED take the pooled tensor as it is
    ours, stock = ({k: n for k, n in f.ops.items() if k not in shaping} for f in (pair.ours, pair.stock))
    assert ours == stock
    assert not any(k.endswith("in float") for k in pair.ours.ops)
