"""Operators are counted for what they are."""
from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from export_sample import sample
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from edgelr.errors import BadInputError
from edgelr.export import onnx_bytes, tflite_bytes
from edgelr.export.account import account, layout_excess
from edgelr.graph import Graph, capture
from edgelr.quantization import Quantized, calibrate


def prepared(net: nn.Module, shape: tuple[int, ...]) -> tuple[Graph, Quantized]:
    graph = capture(net, shape)
    return graph, calibrate(graph, [torch.randn(4, *shape)])


def test_a_tflite_is_all_int8() -> None:
    counted = account(tflite_bytes(sample()), "tflite")
    assert (counted.float, counted.other, counted.joined) == (0, 0, 0)
    assert counted.int8 == sum(counted.by_type.values())
    assert counted.by_type == {"ADD": 1, "CONCATENATION": 1, "CONV_2D": 2, "DEPTHWISE_CONV_2D": 1, "FULLY_CONNECTED": 1, "MAX_POOL_2D": 1,
                               "QUANTIZE": 1, "RESHAPE": 1}
    assert counted.layout == (("flatten", "RESHAPE"),) and counted.layout_ops == 1


def test_an_onnx_counts_an_operator_and_its_grids_as_one() -> None:
    data = onnx_bytes(sample())
    counted = account(data, "onnx")
    # the QuantizeLinear that takes floats in and the DequantizeLinear that gives them out are the file's own, not joined to anything
    assert (counted.int8 - counted.joined, counted.dynamic, counted.float, counted.other) == (8 + 2, 0, 0, 0)
    assert counted.int8 == len(onnx.load_from_string(data).graph.node)


def float_tail(between: list[onnx.NodeProto], last: str) -> bytes:
    """input -> Q -> DQ -> Conv -> between -> Q -> DQ."""
    constants = [numpy_helper.from_array(v, n) for n, v in (
        ("s", np.float32(0.1)), ("z", np.uint8(128)), ("w", np.ones((4, 3, 1, 1), np.int8)), ("ws", np.ones(4, np.float32)),
        ("wz", np.zeros(4, np.int8)))]
    nodes = [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"], "in/quantize"),
             helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"], "in/dequantize"),
             helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], "w/dequantize", axis=0),
             helper.make_node("Conv", ["xd", "wd"], ["c"], "conv"), *between,
             helper.make_node("QuantizeLinear", [last, "s", "z"], ["yq"], "out/quantize"),
             helper.make_node("DequantizeLinear", ["yq", "s", "z"], ["y"], "out/dequantize")]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 4, 4])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4, 4, 4])], constants)
    return bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString())


def test_float_operators_are_named() -> None:
    counted = account(float_tail([helper.make_node("Exp", ["c"], ["e"], "curve")], "e"), "onnx")
    assert counted.float_ops == (("conv", "Conv"), ("curve", "Exp"))  # the convolution's result never gets onto a grid
    assert (counted.int8, counted.float, counted.other) == (0, 7, 0)  # and so are the ways into float and back


def test_a_relu_before_the_grid_is_part_of_an_integer_convolution() -> None:
    counted = account(float_tail([helper.make_node("Relu", ["c"], ["r"], "relu")], "r"), "onnx")
    assert (counted.int8, counted.float, counted.other) == (7, 0, 0)
    assert counted.joined == 3


def test_an_integer_operator_of_onnx_runtime_s_own_counts_as_int8() -> None:
    constants = [numpy_helper.from_array(v, n) for n, v in (("s", np.float32(0.1)), ("z", np.uint8(1)))]
    node = helper.make_node("MaxPool", ["x"], ["y"], "pool", kernel_shape=[2, 2])
    graph = helper.make_graph([node], "g", [helper.make_tensor_value_info("x", TensorProto.UINT8, ["n", 3, 4, 4])],
                              [helper.make_tensor_value_info("y", TensorProto.UINT8, ["n", 3, 3, 3])], constants)
    counted = account(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString(), "onnx")
    assert (counted.int8, counted.float, counted.other, counted.joined) == (1, 0, 0, 0)


def test_reshapes_that_the_network_has_are_no_excess() -> None:
    graph, q = prepared(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 4)), (3, 4, 4))
    assert layout_excess(graph, tflite_bytes(q), "tflite") == ()
    assert layout_excess(graph, onnx_bytes(q), "onnx") == ()


def test_a_transpose_that_the_network_has_not_is_named() -> None:
    """A flattened map that is the output itself must come in torch's order."""
    graph, q = prepared(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten()), (3, 4, 4))
    assert layout_excess(graph, tflite_bytes(q), "tflite") == (("2/flatten/ordered", "TRANSPOSE"),)
    assert layout_excess(graph, onnx_bytes(q), "onnx") == ()


def test_a_permutation_may_be_written_as_a_transpose() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(6, 8), nn.Linear(5, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.b(self.a(x).transpose(1, 2))
            return y

    graph, q = prepared(Net(), (5, 6))
    assert ("TRANSPOSE" in account(tflite_bytes(q), "tflite").by_type) and layout_excess(graph, tflite_bytes(q), "tflite") == ()


def test_malformed_bytes_are_bad_input() -> None:
    for format in ("tflite", "onnx"):
        with pytest.raises(BadInputError):
            account(b"nothing of the kind", format)  # type: ignore[arg-type]
