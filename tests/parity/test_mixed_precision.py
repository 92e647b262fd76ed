"""Operations kept in float or dynamic: both files follow the simulator, and the boundaries are where they should be."""
from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgelr.devices import open_session
from edgelr.export import onnx_bytes, tflite_bytes
from edgelr.export.readback import check_readback
from edgelr.graph import Graph, capture
from edgelr.graph.ops import Dequantize, Quantize
from edgelr.quantization import observe, quantize, simulate
from edgelr.vocabulary import Kept

WRITERS = {"tflite": tflite_bytes, "onnx": onnx_bytes}


class Net(nn.Module):
    """A residual block with bounds of all kinds, depthwise, pooling and two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.deep, self.point = nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.Conv2d(16, 16, 1)
        self.hidden, self.head = nn.Linear(16, 32), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        x = torch.relu(x + F.hardtanh(self.point(F.relu6(self.deep(x))), -0.3, 0.5))
        return self.head(torch.relu(self.hidden(F.max_pool2d(x, 3, 2, 1).mean((2, 3)))))


@pytest.fixture(scope="module")
def sample() -> tuple[Graph, Tensor]:
    torch.manual_seed(0)
    return capture(Net().eval(), (3, 16, 16)), torch.randn(32, 3, 16, 16)


def _kept(graph: Graph, chosen: Callable[[str], str]) -> dict[str, Kept]:
    return {n.name: Kept(chosen(n.name), "choice", "asked") for n in graph.nodes if chosen(n.name)}  # type: ignore[arg-type]


def _sqnr_db(reference: np.ndarray, got: np.ndarray) -> float:
    return 10 * float(np.log10(np.square(reference).sum() / max(np.square(reference - got).sum(), 1e-30)))


@pytest.mark.parametrize("format", ["tflite", "onnx"])
@pytest.mark.parametrize("name", ["stem", "deep", "point", "add", "max_pool2d", "mean", "hidden", "head"])
def test_one_operation_in_float_is_in_float_in_the_file(sample: tuple[Graph, Tensor], name: str, format: str) -> None:
    graph, x = sample
    q = quantize(graph, observe(graph, [x]), _kept(graph, lambda n: "float" if n == name else ""))
    data = WRITERS[format](q)
    check_readback(q, data, format)  # type: ignore[arg-type]
    got = open_session(data, format, as_meant=True).run(x.numpy())  # type: ignore[arg-type]
    np.testing.assert_allclose(got, simulate(q, x).numpy(), atol=1e-5)


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_all_in_float_is_the_network_itself(sample: tuple[Graph, Tensor], format: str) -> None:
    graph, x = sample
    q = quantize(graph, observe(graph, [x]), _kept(graph, lambda n: "float"))
    assert not q.grids and not q.weights
    got = open_session(WRITERS[format](q), format, as_meant=True).run(x.numpy())  # type: ignore[arg-type]
    assert _sqnr_db(simulate(q, x).numpy(), got) > 100


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_dynamic_linear_layers_store_int8_and_compute_near_the_float_network(sample: tuple[Graph, Tensor], format: str) -> None:
    graph, x = sample
    dynamic = _kept(graph, lambda n: "dynamic" if n in ("hidden", "head") else "float")
    in_float = _kept(graph, lambda n: "float")
    ranges = observe(graph, [x])
    q, whole = quantize(graph, ranges, dynamic), quantize(graph, ranges, in_float)
    data = WRITERS[format](q)
    check_readback(q, data, format)  # type: ignore[arg-type]
    assert len(data) < len(WRITERS[format](whole))
    got = open_session(data, format, as_meant=True).run(x.numpy())  # type: ignore[arg-type]
    assert _sqnr_db(simulate(whole, x).numpy(), got) > 40


def test_boundaries_are_nodes_and_stand_where_numbers_change(sample: tuple[Graph, Tensor]) -> None:
    graph, x = sample
    q = quantize(graph, observe(graph, [x]), _kept(graph, lambda n: "float" if n == "point" else ""))
    boundaries = {n.name: type(n.op) for n in q.graph.nodes if isinstance(n.op, Quantize | Dequantize)}
    assert boundaries == {"deep/float": Dequantize, "point/grid": Quantize}
    assert {n for n in q.graph.shapes if n not in q.grids} == {"deep/float", "point", "point/unbounded"}
