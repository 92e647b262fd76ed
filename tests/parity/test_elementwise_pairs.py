"""ONNX Runtime's QLinearAdd and QLinearMul, over every pair of integers, and its global mean are our formulas for them."""
from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from parity_tools import onnx_session

from edgelr.graph.ops import Add, GlobalMean, Mul
from edgelr.vocabulary import Grid

A, B = (m.ravel() for m in np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8)))


def qlinear(op: str, a: Grid, b: Grid, out: Grid) -> np.ndarray:
    grids = {"a": a, "b": b, "y": out}
    constants = [t for k, g in grids.items() for t in (numpy_helper.from_array(np.float32(g.scale), f"s{k}"),
                                                       numpy_helper.from_array(np.uint8(g.zero_point + 128), f"z{k}"))]
    node = helper.make_node(op, ["a", "sa", "za", "b", "sb", "zb", "sy", "zy"], ["y"], domain="com.microsoft")
    graph = helper.make_graph([node], op, [helper.make_tensor_value_info(k, TensorProto.UINT8, ["n"]) for k in "ab"],
                              [helper.make_tensor_value_info("y", TensorProto.UINT8, ["n"])], constants)
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)])
    onnx.checker.check_model(model)
    return onnx_session(model.SerializeToString()).run(None, {"a": A, "b": B})[0]


def random_grid(rng: np.random.Generator) -> Grid:
    return Grid(float(np.float32(rng.uniform(0.001, 0.1))), int(rng.integers(-128, 128)))


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(("op", "ours"), [("QLinearAdd", Add()), ("QLinearMul", Mul())])
def test_every_pair_of_integers(op: str, ours: Add | Mul, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b, out = (random_grid(rng) for _ in range(3))
    inputs = [torch.from_numpy(v.astype(np.float32) - 128) for v in (A, B)]
    got = ours.integer(inputs, (a, b), out, None).numpy() + 128
    np.testing.assert_array_equal(got, qlinear(op, a, b, out))


@pytest.mark.parametrize("seed", range(12))
def test_global_means(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, out = random_grid(rng), random_grid(rng)
    places = (int(rng.integers(2, 8)), int(rng.integers(2, 8)))
    values = rng.integers(0, 256, (1, 30_000, *places), dtype=np.uint8)
    constants = [numpy_helper.from_array(v, n) for n, v in (("sx", np.float32(x.scale)), ("zx", np.uint8(x.zero_point + 128)),
                                                             ("sy", np.float32(out.scale)), ("zy", np.uint8(out.zero_point + 128)))]
    node = helper.make_node("QLinearGlobalAveragePool", ["x", "sx", "zx", "sy", "zy"], ["y"], domain="com.microsoft", channels_last=0)
    graph = helper.make_graph([node], "mean", [helper.make_tensor_value_info("x", TensorProto.UINT8, values.shape)],
                              [helper.make_tensor_value_info("y", TensorProto.UINT8, [1, values.shape[1], 1, 1])], constants)
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)])
    want = onnx_session(model.SerializeToString()).run(None, {"x": values})[0]
    got = GlobalMean().integer([torch.from_numpy(values.astype(np.float32) - 128)], (x,), out, None).numpy() + 128
    np.testing.assert_array_equal(got, want)
