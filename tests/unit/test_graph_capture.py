"""What capture folds, joins and refuses."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgelr.errors import Exit, UnsupportedError
from edgelr.graph import Graph, all_values, capture, rerun, run
from edgelr.graph.ops import NO_CLAMP, RELU, RELU6, Add, Concat, Conv, GlobalMean, Linear, MaxPool, Pad, Requantize


class Fn(nn.Module):
    def __init__(self, function: Callable[..., Any], **members: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, member in members.items():
            setattr(self, name, member)

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def kinds(graph: Graph) -> list[str]:
    return [type(n.op).__name__ for n in graph.nodes]


def test_batch_norm_and_relu_become_part_of_the_convolution() -> None:
    graph = capture(nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU6()), (3, 8, 8))
    assert kinds(graph) == ["Conv"]
    assert graph.nodes[0].name == "0"
    assert graph.nodes[0].op.clamp == RELU6


def test_a_value_read_twice_is_not_changed_for_one_reader() -> None:
    """The sum reads the convolution before its ReLU: the bound can't be the convolution's."""
    graph = capture(Fn(lambda s, x: (lambda y: y + y.relu())(s.a(x)), a=nn.Conv2d(3, 8, 3)), (3, 8, 8))
    assert kinds(graph) == ["Conv", "Requantize", "Add"]
    assert graph.node("a").op.clamp == NO_CLAMP


def test_a_bound_moves_past_pooling_and_concatenation_to_the_convolutions() -> None:
    net = Fn(lambda s, x: F.max_pool2d(torch.cat([s.a(x), s.b(x)], 1), 2).relu(), a=nn.Conv2d(3, 4, 1), b=nn.Conv2d(3, 4, 1))
    graph = capture(net, (3, 8, 8))
    assert kinds(graph) == ["Conv", "Conv", "Concat", "MaxPool"]
    assert graph.node("a").op.clamp == graph.node("b").op.clamp == RELU


def test_a_bound_does_not_move_past_a_pad_whose_value_it_would_change() -> None:
    inside = capture(Fn(lambda s, x: F.pad(s.a(x), (1, 1, 1, 1)).relu(), a=nn.Conv2d(3, 4, 1)), (3, 8, 8))
    assert kinds(inside) == ["Conv", "Pad"]
    outside = capture(Fn(lambda s, x: F.pad(s.a(x), (1, 1, 1, 1), value=-1.0).relu(), a=nn.Conv2d(3, 4, 1)), (3, 8, 8))
    assert kinds(outside) == ["Conv", "Pad", "Requantize"]


def test_zero_padding_becomes_the_convolution_s_own() -> None:
    graph = capture(Fn(lambda s, x: s.a(F.pad(x, (0, 1, 2, 3))), a=nn.Conv2d(3, 4, 3, padding=1)), (3, 8, 8))
    assert kinds(graph) == ["Conv"]
    assert graph.nodes[0].op.pads == (3, 1, 4, 2)


def test_a_zero_pad_before_max_pooling_stays_where_values_may_be_negative() -> None:
    negative = capture(Fn(lambda s, x: F.max_pool2d(F.pad(s.a(x), (1, 1, 1, 1)), 2), a=nn.Conv2d(3, 4, 1)), (3, 8, 8))
    assert kinds(negative) == ["Conv", "Pad", "MaxPool"]
    positive = capture(Fn(lambda s, x: F.max_pool2d(F.pad(s.a(x).relu(), (1, 1, 1, 1)), 2), a=nn.Conv2d(3, 4, 1)), (3, 8, 8))
    assert kinds(positive) == ["Conv", "MaxPool"]


def test_dropout_and_identity_leave_nothing() -> None:
    assert kinds(capture(nn.Sequential(nn.Linear(4, 4), nn.Dropout(), nn.Identity(), nn.ReLU()), (4,))) == ["Linear"]


def test_a_cast_to_float32_is_nothing_and_hides_no_fold() -> None:
    net = Fn(lambda s, x: s.b(s.a(x.float()).to(torch.float32)).relu(), a=nn.Conv2d(3, 4, 1), b=nn.BatchNorm2d(4))
    assert kinds(capture(net, (3, 8, 8))) == ["Conv"]


def test_shapes_have_no_batch_and_any_batch_runs() -> None:
    graph = capture(nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)), (3, 8, 8))
    assert graph.shapes["input"] == (3, 8, 8) and graph.shapes[graph.output] == (5,)
    assert [run(graph, torch.zeros(n, 3, 8, 8)).shape for n in (1, 5)] == [(1, 5), (5, 5)]


def test_nodes_bear_the_modules_names() -> None:
    net = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sigmoid()), nn.Conv2d(4, 4, 1))
    assert [n.name for n in capture(net, (3, 8, 8)).nodes] == ["0.0", "0.1/sigmoid", "1"]


def test_a_module_called_twice_gives_two_nodes() -> None:
    graph = capture(Fn(lambda s, x: s.a(s.a(x)), a=nn.Linear(4, 4)), (4,))
    assert [n.name for n in graph.nodes] == ["a", "a#1"]


def test_weights_of_the_network_are_not_touched() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
    net[1].running_var.fill_(4)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    x = torch.randn(2, 3, 8, 8)
    run(capture(net, (3, 8, 8)), x)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_rerun_computes_what_a_full_run_would() -> None:
    net = Fn(lambda s, x: s.c(s.a(x).relu() + s.b(x)), a=nn.Conv2d(3, 4, 1), b=nn.Conv2d(3, 4, 1), c=nn.Conv2d(4, 2, 3))
    graph, x = capture(net, (3, 8, 8)), torch.randn(2, 3, 8, 8)
    other = capture(Fn(lambda s, x: s.b(x), b=nn.Conv2d(3, 4, 1)), (3, 8, 8)).nodes[0].op
    with torch.no_grad():
        again = rerun(graph, all_values(graph, x), {"b": other})
        assert torch.equal(again, run(graph.with_ops({"b": other}), x))
        assert not torch.equal(again, run(graph, x))


class TwoInputs(nn.Module):
    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return x if y is None else x + y


REFUSED: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], str]] = {
    "unknown operation": (lambda: nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Softplus())), (4,), r"1\.0: .*softplus"),
    "unknown in the network itself": (lambda: Fn(lambda s, x: x.cos()), (4,), "the network: .*cos"),
    "mixes samples": (lambda: Fn(lambda s, x: s.a(x).reshape(-1), a=nn.Linear(4, 4)), (4,), "mixes samples"),
    "softmax over the batch": (lambda: Fn(lambda s, x: s.a(x).softmax(0), a=nn.Linear(4, 4)), (4,), "axis of the batch"),
    "mean over the batch": (lambda: Fn(lambda s, x: s.a(x).mean(0, keepdim=True), a=nn.Linear(4, 4)), (4,), "batch"),
    "concatenated samples": (lambda: Fn(lambda s, x: torch.cat([x, x], 0)), (4,), "samples"),
    "moved batch": (lambda: Fn(lambda s, x: x.permute(1, 0, 2)), (4, 4), "batch"),
    "two outputs": (lambda: Fn(lambda s, x: (s.a(x), x), a=nn.Linear(4, 4)), (4,), "returns 2"),
    "adaptive pooling": (lambda: nn.AdaptiveAvgPool2d(3), (3, 8, 8), "not multiples"),
    "dilated pooling": (lambda: nn.MaxPool2d(2, dilation=2), (3, 8, 8), "dilated"),
    "batch norm without statistics": (lambda: nn.BatchNorm2d(3, track_running_stats=False), (3, 8, 8), "statistics"),
    "circular padding": (lambda: nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"), (3, 8, 8), "circular|copy|slice|pad"),
    "wide replicate": (lambda: nn.ReplicationPad2d(2), (3, 8, 8), "replicate"),
    "corners": (lambda: nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True), (3, 8, 8), "align_corners"),
    "broken factor": (lambda: nn.Upsample(size=(12, 12)), (3, 8, 8), "no whole factor"),
    "division": (lambda: Fn(lambda s, x: 1 / x), (4,), "the network: "),
    "a constant for each sample": (lambda: Fn(lambda s, x: x * torch.arange(2 * 12.0).view(2, 3, 4)), (3, 4), "differs by sample"),
    "a dilated transposed convolution": (lambda: nn.ConvTranspose2d(3, 4, 3, dilation=2), (3, 8, 8), "dilated"),
    "a transposed convolution in groups": (lambda: nn.ConvTranspose2d(4, 4, 3, groups=2), (4, 8, 8), "groups"),
    "a convolution of merged samples": (lambda: Fn(lambda s, x: s.a(x.reshape(-1, 1, 8, 8)).reshape(-1, 3, 8, 8), a=nn.Conv2d(1, 1, 1)),
                                        (3, 8, 8), "^a: its samples are not alone"),
    "attention over the batch": (lambda: Fn(lambda s, x: s.a(x, x, x)[0], a=nn.MultiheadAttention(8, 2)), (5, 8),
                                 "^a: its inputs have their samples on different axes"),
    "a computed mask": (lambda: Fn(lambda s, x: x.masked_fill(x > 0, -1e9)), (4,), "the network: "),
    "a constant in the middle": (lambda: Fn(lambda s, x: torch.cat([x, torch.ones(2, 1, 4), x], 1)), (3, 4), "in the middle"),
    "SELU": (nn.SELU, (4,), "steepness|selu"),
    "half precision": (lambda: Fn(lambda s, x: x.half().float()), (4,), "float16"),
    "control flow": (lambda: Fn(lambda s, x: x if x.sum() > 0 else -x), (4,), "can't be captured"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_form_is_refused_by_module_and_operation(case: str) -> None:
    build, shape, message = REFUSED[case]
    with pytest.raises(UnsupportedError, match=message) as caught:
        capture(build(), shape)
    assert caught.value.exit_code == Exit.BAD_INPUT
    assert caught.value.why and caught.value.try_


def test_a_network_of_two_inputs_is_refused() -> None:
    class Net(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return x + y

    with pytest.raises(UnsupportedError):
        capture(Net(), (4,))


def test_a_shape_that_does_not_fit_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="can't be captured") as caught:
        capture(nn.Linear(4, 4), (5,))
    assert "input shape" in caught.value.try_


def test_operations_know_their_shapes() -> None:
    weight, bias = torch.zeros(8, 3, 3, 3), torch.zeros(8)
    assert Conv(weight, bias, (2, 1), (0, 1, 1, 2), (1, 2)).shape((3, 9, 9)) == (8, 4, 8)
    assert MaxPool((3, 3), (2, 2), (1, 1, 1, 1)).shape((3, 9, 9)) == (3, 5, 5)
    assert Linear(torch.zeros(5, 7), torch.zeros(5)).shape((2, 7)) == (2, 5)
    assert Add().shape((8, 4, 4), (8, 1, 1)) == (8, 4, 4)
    assert Concat(0).shape((3, 4, 4), (5, 4, 4)) == (8, 4, 4)
    assert Pad((0, 1, 0, 0, 2, 3)).shape((3, 4, 4)) == (3, 7, 7)
    assert GlobalMean().shape((3, 4, 4)) == (3, 1, 1)
    assert Requantize().shape((3, 4)) == (3, 4)
