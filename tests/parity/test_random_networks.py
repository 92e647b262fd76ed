"""Networks put together at random: captured, run in integers, written twice, and all of it alike."""
from __future__ import annotations

import random
import warnings

import numpy as np
import pytest
import torch
from parity_tools import LiteRT, run_onnx
from torch import Tensor, nn
from torch.nn import functional as F

from edgelr.export import onnx_bytes, tflite_bytes
from edgelr.export.readback import check_readback
from edgelr.graph import capture, run
from edgelr.graph.arithmetic import quantize
from edgelr.quantization import calibrate, simulate


class RandomNet(nn.Module):
    """Steps drawn from a menu; each knows the channels and the size that the steps before it leave."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        r = random.Random(seed)
        self.shape = (c, h, w) = r.choice([1, 3, 5, 8]), r.randint(6, 14), r.randint(6, 14)
        self.steps: list[tuple[str, object]] = []
        self.held = nn.ModuleList()
        for _ in range(r.randint(2, 6)):
            kind = r.choice(["conv", "conv", "conv", "act", "act", "pool", "join", "join", "branch", "gate", "pad", "norm", "resize"])
            if kind in ("conv", "branch"):
                groups = r.choice([1, 1, 1, c])
                out = c if kind == "branch" else groups * r.choice([1, 2]) if groups > 1 else r.choice([1, 4, 6, 8])
                k = (3, 3) if kind == "branch" else (r.randint(1, min(3, h)), r.randint(1, min(4, w)))
                stride = (1, 1) if kind == "branch" else (r.choice([1, 2]), r.choice([1, 1, 2, 3]))
                pad = (1, 1) if kind == "branch" else (r.randint(0, k[0] - 1), r.randint(0, k[1] - 1))
                self._hold(kind, nn.Conv2d(c, out, k, stride, pad, groups=groups, bias=r.random() < 0.7))
                c, h, w = out, (h + 2 * pad[0] - k[0]) // stride[0] + 1, (w + 2 * pad[1] - k[1]) // stride[1] + 1
            elif kind == "norm":
                self._hold(kind, nn.BatchNorm2d(c))
            elif kind == "act":
                self.steps.append((kind, r.choice([F.relu, F.relu6, F.hardswish, F.silu, torch.sigmoid, lambda y: F.leaky_relu(y, 0.2)])))
            elif kind == "pool" and min(h, w) > 3:
                ceil = r.random() < 0.5
                self._hold(kind, r.choice([nn.MaxPool2d(3, 2, 1, ceil_mode=ceil), nn.MaxPool2d(2), nn.AvgPool2d(2)]))
                h, w = self.held[-1](torch.zeros(1, c, h, w)).shape[2:]
            elif kind == "join":
                self.steps.append((kind, r.choice(["add", "cat", "cat relu"])))
                c *= 1 if self.steps[-1][1] == "add" else 2
            elif kind == "gate":
                self._hold(kind, nn.Conv2d(c, c, 1))
            elif kind == "pad":
                sides = [r.randint(0, 2) for _ in range(4)]
                self.steps.append((kind, sides))
                h, w = h + sides[2] + sides[3], w + sides[0] + sides[1]
            elif kind == "resize" and h * w < 200:
                self.steps.append((kind, 2))
                h, w = 2 * h, 2 * w
        self.tail = r.choice(["none", "pool", "flatten"])
        self.head = nn.Linear({"none": 1, "pool": c, "flatten": c * h * w}[self.tail], 5)

    def _hold(self, kind: str, module: nn.Module) -> None:
        self.held.append(module)
        self.steps.append((kind, len(self.held) - 1))

    def forward(self, x: Tensor) -> Tensor:
        for kind, what in self.steps:
            module = self.held[what] if isinstance(what, int) and kind != "resize" else None
            if kind in ("conv", "norm", "pool"):
                x = module(x)
            elif kind == "branch":
                x = F.relu(module(x)) + x if module.out_channels == x.shape[1] else module(x)
            elif kind == "act":
                x = what(x)
            elif kind == "join":
                x = x + x.sigmoid() if what == "add" else torch.cat([x, F.relu(x) if what == "cat relu" else F.max_pool2d(x, 1)], 1)
            elif kind == "gate":
                x = x * F.hardsigmoid(module(F.adaptive_avg_pool2d(x, 1)))
            elif kind == "pad":
                x = F.pad(x, what)
            elif kind == "resize":
                x = F.interpolate(x, scale_factor=2)
        if self.tail == "none":
            return x
        return self.head((F.adaptive_avg_pool2d(x, 1) if self.tail == "pool" else x).flatten(1))


@pytest.mark.parametrize("seed", range(40))
def test_a_random_network_is_the_same_everywhere(seed: int) -> None:
    torch.manual_seed(seed)
    net = RandomNet(seed).eval()
    x = torch.randn(4, *net.shape)
    graph = capture(net, net.shape)
    with torch.no_grad(), warnings.catch_warnings():
        want = net(x)
        assert torch.allclose(run(graph, x), want, rtol=1e-4, atol=1e-5 * max(1.0, float(want.abs().max())))
    q = calibrate(graph, [x])
    data = onnx_bytes(q)
    check_readback(q, data, "onnx")
    np.testing.assert_array_equal(run_onnx(data, x.numpy()), simulate(q, x).numpy())
    data = tflite_bytes(q)
    check_readback(q, data, "tflite")
    session = LiteRT(data, q, keep=True)
    session.invoke(quantize(x[:1], q.grids[graph.input]))
    values = dict(session.values())
    for node in q.graph.nodes:
        if node.name in values and all(i in values for i in node.inputs):
            ours = node.op.integer([values[i] for i in node.inputs], [q.grids[i] for i in node.inputs], q.grids[node.name],
                                   q.weights.get(node.name))
            assert (ours - values[node.name]).abs().max() <= 1, f"{node.name} ({type(node.op).__name__})"
