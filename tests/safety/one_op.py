"""One operation on grids and integers chosen by hand, in the integer run and in both files."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgelr.devices import open_session
from edgelr.export import onnx_bytes, tflite_bytes
from edgelr.export.layout import layout_of
from edgelr.graph import Graph, IntegerWeights, Node
from edgelr.graph.arithmetic import dequantize
from edgelr.graph.ops import Op, Shape
from edgelr.quantization import Quantized, simulate_integers
from edgelr.vocabulary import Grid


@dataclass(frozen=True, eq=False)
class Outputs:
    """The output's integers in [-128, 127], [samples, ...] each, in torch's layout."""

    simulated: NDArray[np.int64]
    onnx: NDArray[np.int64]
    tflite: NDArray[np.int64]


def one(op: Op, shape: Shape, x: Grid, y: Grid, weights: IntegerWeights | None = None, times: int = 1) -> Quantized:
    """The graph y = op(x), or op(x, x, …) for ``times`` inputs."""
    graph = Graph.build("x", shape, [Node("y", op, ("x",) * times)], "y")
    return Quantized(graph, {"x": x, "y": y}, {} if weights is None else {"y": weights})


def tflite(q: Quantized, x: NDArray[np.float32]) -> NDArray[np.int64]:
    last = layout_of(q.graph).channels_last
    session = open_session(tflite_bytes(q), "tflite", channels_last=q.graph.input in last, channels_last_output=q.graph.output in last)
    return session.run_int(x).astype(np.int64)


def onnx(q: Quantized, x: NDArray[np.float32]) -> NDArray[np.int64]:
    got = open_session(onnx_bytes(q), "onnx", as_meant=True).run_int(x)
    return got.astype(np.int64) - (128 if got.dtype == np.uint8 else 0)


def outputs(q: Quantized, integers: Tensor) -> Outputs:
    """All three on the input's integers [samples, *shape]."""
    x = dequantize(integers, q.grids[q.graph.input])
    return Outputs(simulate_integers(q, x).numpy().astype(np.int64), onnx(q, x.numpy()), tflite(q, x.numpy()))


def every_integer(samples: int, *shape: int) -> Tensor:
    """All of int8, in an order of its own for each sample, repeated to fill the shape."""
    rng, count = np.random.RandomState(5), int(np.prod(shape))
    rows = [np.concatenate([rng.permutation(256) for _ in range(-(-count // 256))])[:count] - 128 for _ in range(samples)]
    return torch.from_numpy(np.stack(rows).reshape(samples, *shape).astype(np.float32))
