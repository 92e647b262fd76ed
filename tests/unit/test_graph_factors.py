"""Hard-swish's sixth goes into the weights behind it, wherever every reader has some; what is computed stays the same."""
from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from edgelr.graph import Graph, capture, run
from edgelr.graph.ops import Conv, Reshape
from edgelr.quantization import calibrate

SHAPE = (8, 6, 6)


class Gated(nn.Module):
    """Squeeze and excite on a hard-swish, whose value is read twice."""

    def __init__(self) -> None:
        super().__init__()
        self.act, self.pool, self.squeeze, self.out = nn.Hardswish(), nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(x)
        return self.out(y * torch.sigmoid(self.squeeze(self.pool(y))))


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act = nn.Conv2d(8, 8, 1), nn.Hardswish()

    def forward(self, x: Tensor) -> Tensor:
        return x + self.act(self.conv(x))


class Square(nn.Module):
    """The factor would count twice."""

    def __init__(self) -> None:
        super().__init__()
        self.act, self.pool, self.out = nn.Hardswish(), nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(x)
        return self.out(y * self.pool(y))


def head() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(8 * 36, 12), nn.Hardswish(), nn.Linear(12, 5))


def sixths(graph: Graph) -> int:
    return sum(isinstance(n.op, Conv) and n.op.depthwise for n in graph.nodes)


@pytest.mark.parametrize(("build", "left"), [
    (lambda: nn.Sequential(nn.Hardswish(), nn.Conv2d(8, 4, 3, padding=1)), 0), (Gated, 0), (head, 0), (Residual, 1), (Square, 1),
    (nn.Hardswish, 1)])
def test_the_factor_goes_where_all_readers_have_weights_and_nothing_changes(build: type[nn.Module], left: int) -> None:
    model = build().eval()
    graph = capture(model, SHAPE)
    x = 4 * torch.randn(5, *SHAPE)
    assert sixths(graph) == left
    torch.testing.assert_close(run(graph, x), model(x), rtol=1e-5, atol=1e-5)


def test_no_reshape_is_left_around_a_factor_that_has_gone() -> None:
    assert sum(isinstance(n.op, Reshape) for n in capture(head().eval(), SHAPE).nodes) == 1  # the Flatten


def test_the_grid_before_a_hard_swish_spends_nothing_below_minus_three() -> None:
    model = nn.Sequential(nn.Conv2d(8, 8, 1), nn.Hardswish(), nn.Conv2d(8, 4, 1)).eval()
    q = calibrate(capture(model, SHAPE), [30 * torch.randn(20, *SHAPE)])
    grid = q.grids["0"]
    assert abs(grid.low + 3) <= grid.scale / 2
