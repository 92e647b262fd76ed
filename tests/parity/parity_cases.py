"""Small networks, one idea each, and small whole networks: what graph, integer run and both files are held against each other on."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

aten = torch.ops.aten
Build = Callable[[], nn.Module]


class Fn(nn.Module):
    """A network whose forward is a function of itself and x; its modules come as keywords."""

    def __init__(self, function: Callable[[Any, Tensor], Tensor], **members: Any) -> None:
        super().__init__()
        self.function = function
        for name, member in members.items():
            if isinstance(member, Tensor):
                self.register_buffer(name, member)
            else:
                setattr(self, name, member)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def conv(i: int, o: int, k: Any = 1, **kw: Any) -> nn.Conv2d:
    return nn.Conv2d(i, o, k, **kw)


def after_conv(function: Callable[[Tensor], Tensor], channels: int = 8, k: int = 3) -> Build:
    """conv, then the function."""
    return lambda: Fn(lambda s, x: function(s.a(x)), a=conv(3, channels, k))


def two(function: Callable[[Tensor, Tensor], Tensor]) -> Build:
    """Two convolutions of the input, then the function of both."""
    return lambda: Fn(lambda s, x: function(s.a(x), s.b(x)), a=conv(3, 8), b=conv(3, 8))


def seq(*modules: Callable[[], nn.Module]) -> Build:
    return lambda: nn.Sequential(*(m() for m in modules))


def through(*steps: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def function(y: Tensor) -> Tensor:
        for step in steps:
            y = step(y)
        return y
    return function


def in_place_then_both(y: Tensor) -> Tensor:
    z = F.relu(y, inplace=True)
    return y + z.sigmoid()


IMAGE = (3, 9, 9)
OPS: dict[str, tuple[Build, tuple[int, ...]]] = {
    # convolutions
    "conv_stride": (seq(lambda: conv(3, 8, 3, stride=2, padding=1)), (3, 8, 8)),
    "conv_stride_odd": (seq(lambda: conv(3, 8, 3, stride=2, padding=1)), (3, 9, 7)),
    "conv_no_bias": (seq(lambda: conv(3, 8, 3, bias=False)), IMAGE),
    "conv_rect": (seq(lambda: conv(3, 8, (3, 1), stride=(2, 1), padding=(1, 0)), lambda: conv(8, 8, (1, 5), padding=(0, 2))), IMAGE),
    "conv_large_stride": (seq(lambda: conv(3, 8, 2, stride=3)), (3, 11, 10)),
    "conv_same": (seq(lambda: conv(3, 8, 4, padding="same"), nn.ReLU, lambda: conv(8, 8, 3, padding="valid")), IMAGE),
    "conv_dilated": (seq(lambda: conv(3, 8, 3, dilation=2, padding=2), lambda: conv(8, 8, 3, dilation=(1, 3))), (3, 12, 12)),
    "conv_groups": (seq(lambda: conv(8, 16, 3, groups=4, padding=1), nn.ReLU6, lambda: conv(16, 8, 1, groups=2)), (8, 6, 6)),
    "depthwise": (seq(lambda: conv(8, 8, 3, groups=8, padding=1), nn.ReLU6, lambda: conv(8, 8, 5, groups=8, stride=2, padding=2)), (8, 9,
                    9)),
    "depthwise_multiplier": (seq(lambda: conv(4, 12, 3, groups=4, padding=2, dilation=2)), (4, 9, 9)),
    "pad_then_conv": (lambda: Fn(lambda s, x: s.a(F.pad(x, (0, 1, 0, 1))), a=conv(3, 8, 3, stride=2)), (3, 8, 8)),
    "pad_asymmetric_conv": (lambda: Fn(lambda s, x: s.a(F.pad(x, (2, 0, 1, 3))), a=conv(3, 8, 3, padding=1)), (3, 8, 8)),
    "conv_reflect": (seq(lambda: conv(3, 8, 3, padding=1, padding_mode="reflect")), IMAGE),
    "one_place": (seq(lambda: conv(3, 8, 9), nn.ReLU, lambda: conv(8, 4)), IMAGE),
    "one_channel": (seq(lambda: conv(1, 4, 3), nn.ReLU, lambda: conv(4, 1, 3)), (1, 9, 9)),
    "conv1d": (seq(lambda: nn.Conv1d(6, 8, 5, padding=2), nn.ReLU, lambda: nn.MaxPool1d(2), lambda: nn.Conv1d(8, 8, 3, stride=2,
                    dilation=2)),
               (6, 40)),
    "conv1d_same": (seq(lambda: nn.Conv1d(6, 8, 4, padding="same"), nn.ReLU, lambda: nn.Conv1d(8, 8, 3, padding=1, groups=8)), (6, 21)),
    "conv1d_net": (seq(lambda: nn.Conv1d(6, 8, 9, stride=2, padding=4), lambda: nn.BatchNorm1d(8), nn.ReLU, lambda: nn.AvgPool1d(2),
                       lambda: nn.AdaptiveAvgPool1d(1), nn.Flatten, lambda: nn.Linear(8, 5)), (6, 40)),
    "conv1d_flatten": (seq(lambda: nn.Conv1d(4, 6, 3), nn.ReLU, nn.Flatten, lambda: nn.Linear(6 * 14, 5)), (4, 16)),
    # linear
    "mlp": (seq(lambda: nn.Linear(20, 30), nn.ReLU, lambda: nn.Dropout(0.5), lambda: nn.Linear(30, 5)), (20,)),
    "linear_rows": (seq(lambda: nn.Linear(20, 30), nn.ReLU, lambda: nn.Linear(30, 5, bias=False)), (7, 20)),
    "linear_batch_norm": (seq(lambda: nn.Linear(20, 12), lambda: nn.BatchNorm1d(12), nn.ReLU, lambda: nn.Linear(12, 5)), (20,)),
    "flatten_linear": (seq(lambda: conv(3, 8, 3), nn.ReLU, lambda: nn.MaxPool2d(2, ceil_mode=True), nn.Flatten, lambda: nn.Linear(8 * 16,
                    10)), IMAGE),
    "flatten_two_linears": (lambda: Fn(lambda s, x: (lambda y: s.b(y) + s.c(y))(s.a(x).flatten(1)), a=conv(3, 8, 3),
                                       b=nn.Linear(8 * 49, 6), c=nn.Linear(8 * 49, 6)), IMAGE),
    # batch norm on its own, normalisation in the model
    "batch_norm_first": (seq(lambda: nn.BatchNorm2d(8), nn.ReLU, lambda: conv(8, 8, 3)), (8, 9, 9)),
    "batch_norm_plain": (seq(lambda: conv(3, 8, 3), lambda: nn.BatchNorm2d(8, affine=False), nn.ReLU), IMAGE),
    "batch_norm_after_shared": (lambda: Fn(lambda s, x: (lambda y: s.n(y) + y)(s.a(x)), a=conv(3, 8), n=nn.BatchNorm2d(8)), IMAGE),
    "batch_norm_1d_input": (seq(lambda: nn.BatchNorm1d(6), lambda: nn.Linear(6, 5)), (6,)),
    "normalise": (lambda: Fn(lambda s, x: s.a((x - s.mean) / s.std), a=conv(3, 8, 3, padding=1),
                             mean=torch.tensor([0.4, 0.5, 0.6]).view(1, 3, 1, 1), std=torch.tensor([0.2, 0.3, 0.25]).view(3, 1, 1)), IMAGE),
    "scale_last_axis": (lambda: Fn(lambda s, x: s.b(s.a(x) * s.g), a=nn.Linear(20, 6), b=nn.Linear(6, 6), g=torch.linspace(0.5, 2, 6)),
                    (7, 20)),
    "scale_rows": (lambda: Fn(lambda s, x: s.a(x).relu() * s.g, a=nn.Linear(20, 6), g=torch.linspace(0.5, 2, 7).view(7, 1)), (7, 20)),
    "scale_width": (lambda: Fn(lambda s, x: s.a(x).relu() + s.g, a=conv(3, 4), g=torch.linspace(-1, 2, 9)), IMAGE),
    # activations
    "relu": (after_conv(lambda y: y.relu()), IMAGE),
    "relu_in_place": (after_conv(in_place_then_both), IMAGE),
    "relu6": (after_conv(F.relu6), IMAGE),
    "hardtanh": (seq(lambda: conv(8, 8, 3), lambda: nn.Hardtanh(-0.3, 0.4, inplace=True), lambda: conv(8, 4, 3)), (8, 9, 9)),
    "clamps": (after_conv(lambda y: y.clamp(-0.2, 0.5) + y.clamp(min=-0.1) + y.clamp(max=0.3)), IMAGE),
    # bounds that no operation before can take over: a change of grid right behind another
    "relu_of_the_input": (lambda: Fn(lambda s, x: s.a(x.relu()), a=conv(3, 8, 3)), IMAGE),
    "bounded_sigmoid": (after_conv(lambda y: F.hardtanh(y.sigmoid(), 0.1, 0.6)), IMAGE),
    "pad_negative_relu": (after_conv(lambda y: F.pad(y, (1, 1, 1, 1), value=-1.0).relu()), IMAGE),
    "hardsigmoid": (after_conv(F.hardsigmoid), IMAGE),
    "hardswish": (after_conv(F.hardswish), IMAGE),
    "hardswish_by_hand": (after_conv(lambda y: y * F.relu6(y + 3) / 6), IMAGE),
    "hardswish_by_hand_2": (after_conv(lambda y: y * (F.relu6(y + 3.0) / 6.0)), IMAGE),
    "sigmoid": (after_conv(torch.sigmoid), IMAGE),
    "silu": (after_conv(F.silu), IMAGE),
    "softmax": (after_conv(lambda y: y.flatten(1).softmax(1), k=9), IMAGE),
    "softmax_channels": (after_conv(lambda y: y.softmax(1)), IMAGE),
    "softmax_between": (lambda: Fn(lambda s, x: s.b(s.a(x).softmax(-1)), a=nn.Linear(20, 6), b=nn.Linear(6, 5)), (20,)),
    "leaky_relu": (after_conv(lambda y: F.leaky_relu(y, 0.1)), IMAGE),
    # elementwise
    "add": (two(lambda a, b: a + b), IMAGE),
    "add_relu": (two(lambda a, b: (a + b).relu()), IMAGE),
    "add_itself": (after_conv(lambda y: y + y), IMAGE),
    "add_alpha": (two(lambda a, b: torch.add(a, b, alpha=0.3)), IMAGE),
    "sub": (two(lambda a, b: a - b), IMAGE),
    "mul": (two(lambda a, b: a * b), IMAGE),
    "constants": (after_conv(lambda y: ((2 + y) * 1.5 - 0.25) / 2), IMAGE),
    "reused_pre_activation": (lambda: Fn(lambda s, x: (lambda y: s.b(y.relu()) + y)(s.a(x)), a=conv(3, 8, 3), b=conv(8, 8)), IMAGE),
    "squeeze_excite": (lambda: Fn(lambda s, x: (lambda y: y * F.hardsigmoid(s.c(s.b(F.adaptive_avg_pool2d(y, 1)).relu())))(s.a(x).relu()),
                                  a=conv(3, 16), b=conv(16, 8), c=conv(8, 16)), IMAGE),
    "squeeze_excite_sigmoid": (lambda: Fn(lambda s, x: (lambda y: y * s.b(y.mean((2, 3), keepdim=True)).sigmoid())(s.a(x)),
                                          a=conv(3, 16), b=conv(16, 16)), IMAGE),
    # pooling and means
    "max_pool": (after_conv(lambda y: F.max_pool2d(y, 3, 2, 1)), IMAGE),
    "max_pool_after_relu": (after_conv(lambda y: F.max_pool2d(y.relu(), 3, 2, 1)), (3, 10, 10)),
    "max_pool_ceil": (after_conv(lambda y: F.max_pool2d(y, 2, 2, ceil_mode=True)), IMAGE),
    "max_pool_relu": (after_conv(lambda y: F.max_pool2d(y, 2).relu()), IMAGE),
    "pad_max_pool": (after_conv(lambda y: F.max_pool2d(F.pad(y.relu(), (1, 0, 1, 0)), 2)), IMAGE),
    "pad_wider_than_pool": (after_conv(lambda y: F.max_pool2d(F.pad(y.relu(), (0, 2, 0, 1)), 2)), (3, 10, 10)),
    "avg_pool": (after_conv(lambda y: F.avg_pool2d(y, 2)), (3, 8, 8)),
    "avg_pool_overlapping": (after_conv(lambda y: F.avg_pool2d(y, 3, 2, 1)), IMAGE),
    "adaptive_pool": (after_conv(lambda y: F.adaptive_avg_pool2d(y, (3, 2))), (3, 8, 8)),
    "adaptive_pool_same": (after_conv(lambda y: F.adaptive_avg_pool2d(y, 7).relu()), IMAGE),
    "global_pool": (after_conv(lambda y: F.adaptive_avg_pool2d(y, 1)), IMAGE),
    "global_pool_relu_cat": (after_conv(lambda y: (lambda m: torch.cat([m.relu(), m], 1))(F.adaptive_avg_pool2d(y, 1))), IMAGE),
    "mean_flat": (after_conv(lambda y: y.mean((2, 3))), IMAGE),
    "mean_keep": (after_conv(lambda y: y.mean((-1, -2), keepdim=True).relu()), IMAGE),
    "mean_height": (after_conv(lambda y: y.mean(2)), IMAGE),
    "mean_time": (lambda: Fn(lambda s, x: s.b(s.a(x).mean(1)), a=nn.Linear(20, 30), b=nn.Linear(30, 4)), (7, 20)),
    "mean_features": (lambda: Fn(lambda s, x: s.a(x).mean(-1, keepdim=True), a=nn.Linear(20, 30)), (7, 20)),
    # values that a ReLU leaves nothing, or next to nothing, of
    "dead_conv": (lambda: Fn(lambda s, x: s.b((s.a(x) - 100).relu()) + x, a=conv(3, 4), b=conv(4, 3)), IMAGE),
    "dead_sum": (two(lambda a, b: ((a - 50) + (b - 50)).relu()), IMAGE),
    "dead_branch": (two(lambda a, b: (a - 100).relu() + b), IMAGE),
    "nearly_dead_conv": (after_conv(lambda y: F.hardtanh(y, 0.0, 1e-5)), IMAGE),
    # moving values
    "concat": (two(lambda a, b: torch.cat([a.relu(), b.relu()], 1)), IMAGE),
    "concat_mixed": (two(lambda a, b: torch.cat([a.relu(), b], 1)), IMAGE),
    "concat_sigmoid": (two(lambda a, b: torch.cat([a.sigmoid(), b, b * a], 1)), IMAGE),
    "concat_relu": (lambda: Fn(lambda s, x: s.b(torch.cat([s.a(x), s.c(x)], 1).relu()), a=conv(3, 8, 3), c=conv(3, 8, 3), b=conv(16, 4)),
                    IMAGE),
    "concat_twice_the_same": (after_conv(lambda y: torch.cat([y, y], 1)), IMAGE),
    "concat_width": (two(lambda a, b: torch.cat([a, b], 3)), IMAGE),
    "concat_pooled": (two(lambda a, b: torch.cat([F.max_pool2d(a.relu(), 2), F.avg_pool2d(b, 2)], 1)), IMAGE),
    "concat_chain": (lambda: Fn(lambda s, x: (lambda y: (lambda z: torch.cat([z, s.c(z).relu()], 1))(torch.cat([y, s.b(y).relu()], 1)))(
        s.a(x).relu()), a=conv(3, 8), b=conv(8, 4, 3, padding=1), c=conv(12, 4, 3, padding=1)), IMAGE),
    "pad": (after_conv(lambda y: F.pad(y, (1, 2, 0, 3))), IMAGE),
    "pad_value": (after_conv(lambda y: F.pad(y, (1, 2, 0, 3), value=0.7)), IMAGE),
    "pad_reflect": (after_conv(lambda y: F.pad(y, (1, 2, 2, 1), mode="reflect")), IMAGE),
    "pad_edge": (after_conv(lambda y: F.pad(y, (1, 1, 1, 1), mode="replicate")), IMAGE),
    "pad_channels": (after_conv(lambda y: F.pad(y, (0, 0, 0, 0, 2, 2))), IMAGE),
    "pad_relu": (after_conv(lambda y: F.pad(y, (1, 1, 1, 1)).relu()), IMAGE),
    "permute": (after_conv(lambda y: y.permute(0, 2, 3, 1)), IMAGE),
    "permute_and_back": (after_conv(lambda y: y.permute(0, 2, 3, 1).relu().permute(0, 3, 1, 2)), IMAGE),
    "transpose_linear": (lambda: Fn(lambda s, x: s.b(s.a(x).transpose(1, 2)), a=nn.Conv1d(6, 8, 3), b=nn.Linear(8, 5)), (6, 20)),
    "shuffle": (lambda: Fn(lambda s, x: s.b(s.a(x).view(-1, 2, 4, 9, 9).transpose(1, 2).reshape(-1, 8, 9, 9)), a=conv(3, 8), b=conv(8,
                    8)), IMAGE),
    "unflatten": (lambda: Fn(lambda s, x: s.b(s.u(s.a(x))), a=nn.Linear(20, 32), u=nn.Unflatten(1, (8, 2, 2)), b=conv(8, 4, 2)), (20,)),
    "recut": (after_conv(lambda y: y.reshape(-1, 7, 56).relu()), IMAGE),
    "squeeze_unsqueeze": (lambda: Fn(lambda s, x: s.b(s.a(x.unsqueeze(1)).squeeze(3)), a=conv(1, 8, (3, 5)), b=nn.Conv1d(8, 4, 3)), (12,
                    5)),
    "nearest": (after_conv(lambda y: F.interpolate(y, scale_factor=2)), IMAGE),
    "nearest_rect": (after_conv(lambda y: F.interpolate(y, size=(14, 21))), IMAGE),
    "nearest_1d": (lambda: Fn(lambda s, x: s.a(F.interpolate(x, scale_factor=2)), a=nn.Conv1d(6, 8, 3)), (6, 12)),
    "bilinear": (after_conv(lambda y: F.interpolate(y, scale_factor=2, mode="bilinear")), IMAGE),
    # parts of values
    "slice": (after_conv(lambda y: y[:, 1:7:2, 2:, ::3]), IMAGE),
    "slice_rows": (lambda: Fn(lambda s, x: s.a(x)[:, 2:5, -4:], a=nn.Linear(20, 12)), (7, 20)),
    "select": (lambda: Fn(lambda s, x: s.b(s.a(x)[:, 0]) + s.b(s.a(x)[:, -1]), a=nn.Linear(20, 12), b=nn.Linear(12, 5)), (7, 20)),
    "select_channel": (after_conv(lambda y: y[:, 3]), IMAGE),
    "chunk": (after_conv(lambda y: (lambda a, b, c: torch.cat([c, a, b], 1))(*y.chunk(3, 1))), IMAGE),
    "split": (after_conv(lambda y: (lambda a, b: a * b)(*y.split(4, 1))), IMAGE),
    "split_sizes": (after_conv(lambda y: (lambda a, b: torch.cat([b, a.sigmoid()], 1))(*y.split([2, 6], 1))), IMAGE),
    "unbind": (lambda: Fn(lambda s, x: (lambda a, b: a * b)(*s.a(x).unflatten(2, (2, 6)).unbind(2)), a=nn.Linear(20, 12)), (7, 20)),
    "narrow": (after_conv(lambda y: y.narrow(2, 1, 4)), IMAGE),
    "roll": (after_conv(lambda y: y.roll((2, -3), (2, 3))), IMAGE),
    "pixel_shuffle": (after_conv(lambda y: F.pixel_shuffle(y, 2)), IMAGE),
    "stack": (two(lambda a, b: torch.stack([a, b], 2).flatten(1, 2)), IMAGE),
    # products of activations
    "matmul": (lambda: Fn(lambda s, x: s.a(x) @ s.b(x).transpose(1, 2), a=nn.Linear(20, 12), b=nn.Linear(20, 12)), (7, 20)),
    "matmul_turned": (lambda: Fn(lambda s, x: s.a(x).mT @ s.b(x), a=nn.Linear(20, 12), b=nn.Linear(20, 10)), (7, 20)),
    "matmul_heads": (lambda: Fn(lambda s, x: (lambda q, k: q @ k.transpose(-2, -1))(
        *(f(x).view(-1, 7, 3, 4).transpose(1, 2) for f in (s.a, s.b))), a=nn.Linear(20, 12), b=nn.Linear(20, 12)), (7, 20)),
    "matmul_long": (lambda: Fn(lambda s, x: s.a(x).relu().mT @ s.b(x).relu(), a=nn.Linear(4, 6), b=nn.Linear(4, 5)), (600, 4)),
    "matmul_weights": (lambda: Fn(lambda s, x: s.a(x) @ s.w, a=nn.Linear(20, 12), w=torch.randn(12, 5)), (7, 20)),
    "bmm_merged": (lambda: Fn(lambda s, x: (lambda q: torch.bmm(q, q.transpose(1, 2)).view(-1, 3, 7, 7))(
        s.a(x).view(-1, 7, 3, 4).transpose(1, 2).reshape(-1, 7, 4)), a=nn.Linear(20, 12)), (7, 20)),
    # constants along several axes, and one number
    "add_position": (lambda: Fn(lambda s, x: s.a(x) + s.p, a=nn.Linear(20, 12), p=torch.randn(1, 7, 12)), (7, 20)),
    "add_map": (lambda: Fn(lambda s, x: s.a(x) + s.p, a=conv(3, 8), p=torch.randn(8, 9, 9)), IMAGE),
    "mul_map": (lambda: Fn(lambda s, x: s.a(x).relu() * s.p, a=conv(3, 8), p=torch.randn(9, 9)), IMAGE),
    "grow_by_constant": (lambda: Fn(lambda s, x: s.a(x).unsqueeze(1) + s.p, a=nn.Linear(20, 12), p=torch.randn(1, 4, 12)), (20,)),
    "class_token": (lambda: Fn(lambda s, x: s.b(torch.cat([s.c.expand(len(x), -1, -1), s.a(x)], 1) + s.p), a=nn.Linear(20, 12),
                               b=nn.Linear(12, 5), c=torch.randn(1, 1, 12), p=torch.randn(1, 8, 12)), (7, 20)),
    "tokens_behind": (lambda: Fn(lambda s, x: torch.cat([s.a(x), s.b(x), s.c.expand(len(x), -1, -1)], 1), a=nn.Linear(20, 12),
                                 b=nn.Linear(20, 12), c=torch.randn(1, 2, 12)), (7, 20)),
    "scale_shared": (after_conv(lambda y: y * 0.3 + y), IMAGE),
    "constant_minus": (after_conv(lambda y: 1 - y.sigmoid()), IMAGE),
    "negative": (after_conv(lambda y: -y.sigmoid()), IMAGE),
    "square": (after_conv(lambda y: y.square() + y**2), IMAGE),
    "expand": (after_conv(lambda y: y.mean((2, 3), keepdim=True).expand_as(y) * y), IMAGE),
    "expand_alone": (after_conv(lambda y: y.mean((2, 3), keepdim=True).expand(-1, -1, 4, 5)), IMAGE),
    "sum": (after_conv(lambda y: y.sum(1)), IMAGE),
    "prelu": (seq(lambda: conv(3, 8, 3), lambda: nn.PReLU(8, 0.3), lambda: conv(8, 4, 3)), IMAGE),
    "prelu_one": (seq(lambda: conv(3, 8, 3), lambda: nn.PReLU(1, 0.3)), IMAGE),
    "avg_pool_uncounted": (after_conv(lambda y: F.avg_pool2d(y, 3, 2, 1, count_include_pad=False)), IMAGE),
    "avg_pool_ceil": (after_conv(lambda y: F.avg_pool2d(y, 2, 2, ceil_mode=True)), IMAGE),
    "avg_pool_divisor": (after_conv(lambda y: F.avg_pool2d(y, 2, divisor_override=3)), IMAGE),
    "softmax_rows": (lambda: Fn(lambda s, x: s.a(x).softmax(1), a=nn.Linear(20, 6)), (7, 20)),
    "softmax_width": (after_conv(lambda y: y.softmax(2)), IMAGE),
    # the batch moved about
    "time_first": (lambda: Fn(lambda s, x: s.b(s.a(x.transpose(0, 1)).relu()).mean(0), a=nn.Linear(20, 12), b=nn.Linear(12, 5)), (7, 20)),
    "merged_samples": (lambda: Fn(lambda s, x: s.n(s.a(x).flatten(0, 1)).reshape_as(x), a=nn.Linear(20, 20), n=nn.BatchNorm1d(20)),
                       (7, 20)),
    "linear_then_conv": (lambda: Fn(lambda s, x: s.c(s.a(x)), a=nn.Linear(20, 12), c=nn.Conv1d(7, 4, 3)), (7, 20)),
    "conv_then_linear": (lambda: Fn(lambda s, x: s.c(s.a(x)), a=nn.Conv1d(7, 4, 3), c=nn.Linear(18, 5)), (7, 20)),
}

# Spellings of ATen that torch's modules rarely use but exported programs hold.
SPELLINGS: dict[str, tuple[Build, tuple[int, ...]]] = {
    "in_place": (after_conv(through(
        lambda y: aten.div_.Tensor(y, torch.tensor(2.0)), lambda y: aten.sub_.Tensor(y, torch.tensor(0.1)),
        lambda y: aten.mul_.Tensor(y, torch.tensor(1.5)), lambda y: aten.add_.Tensor(y, torch.tensor(0.2)),
        lambda y: aten.leaky_relu_(y, 0.1), aten.silu_)), IMAGE),
    "in_place_bounds": (after_conv(through(aten.relu_, lambda y: aten.hardtanh_(y, 0.0, 4.0), lambda y: aten.clamp_(y, 0.1, 2.0),
                    aten.sigmoid_)),
                        IMAGE),
    "in_place_hard": (lambda: Fn(lambda s, x: aten.relu6_(s.a(x)) + aten.hardswish_(s.b(x)) + aten.hardsigmoid_(s.c(x)),
                                 a=conv(3, 4), b=conv(3, 4), c=conv(3, 4)), IMAGE),
    "scalars": (after_conv(through(lambda y: aten.add.Scalar(y, 0.5), lambda y: aten.sub.Scalar(y, 0.1), lambda y: aten.mul.Scalar(y, 2.0),
                                   lambda y: aten.div.Scalar(y, 3.0))), IMAGE),
    "bounds": (after_conv(lambda y: aten.relu6(y) + aten.clamp_max(aten.clamp_min(y, -0.3), 0.4)), IMAGE),
    "no_ops": (after_conv(through(
        lambda y: aten.dropout(y, 0.5, False), lambda y: aten.dropout_(y, 0.5, False), lambda y: aten.feature_dropout(y, 0.5, False),
                    aten.clone,
        aten.contiguous, aten.detach, aten.alias, lambda y: aten.to.dtype(y, torch.float32), aten._to_copy, aten.lift_fresh_copy)), IMAGE),
    "softmax_decomposed": (lambda: Fn(lambda s, x: aten._softmax(s.a(x), -1, False), a=nn.Linear(20, 6)), (20,)),
    "views": (lambda: Fn(lambda s, x: s.b(aten._unsafe_view(aten.squeeze.dims(s.a(x), [2, 3]), [-1, 8])), a=conv(3, 8, 9), b=nn.Linear(8,
                    5)),
              IMAGE),
    "other_views": (lambda: Fn(lambda s, x: aten.rsub.Tensor(s.b(aten.view_as(s.a(x).squeeze(), torch.zeros(x.shape[0], 8, 1)).squeeze(2)),
                                                             torch.ones(5)), a=conv(3, 8, 9), b=nn.Linear(8, 5)), IMAGE),
    "constant_pad": (after_conv(lambda y: aten.constant_pad_nd(y, [1, 0, 2, 0], 0.25)), IMAGE),
}


def conv_bn(i: int, o: int, k: int = 3, stride: int = 1, groups: int = 1, act: Callable[[], nn.Module] | None = nn.ReLU) -> nn.Sequential:
    layers = [nn.Conv2d(i, o, k, stride, k // 2, groups=groups, bias=False), nn.BatchNorm2d(o)]
    return nn.Sequential(*layers, *([act()] if act else []))


class Residual(nn.Module):
    def __init__(self, i: int, o: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(conv_bn(i, o, 3, stride), conv_bn(o, o, act=None))
        self.short = nn.Identity() if i == o and stride == 1 else conv_bn(i, o, 1, stride, act=None)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.body(x)
        out += self.short(x)
        return self.relu(out)


class Inverted(nn.Module):
    """MobileNet's block, with squeeze-excite and hard-swish for version 3."""

    def __init__(self, i: int, wide: int, o: int, stride: int, act: Callable[[], nn.Module], squeeze: bool = False) -> None:
        super().__init__()
        self.expand = conv_bn(i, wide, 1, act=act)
        self.depthwise = conv_bn(wide, wide, 5 if squeeze else 3, stride, wide, act)
        self.squeeze = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(wide, 8, 1), nn.ReLU(), nn.Conv2d(8, wide, 1),
                                     nn.Hardsigmoid()) if squeeze else None
        self.project = conv_bn(wide, o, 1, act=None)
        self.skip = i == o and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        y = self.depthwise(self.expand(x))
        if self.squeeze is not None:
            y = y * self.squeeze(y)
        y = self.project(y)
        return x + y if self.skip else y


class Fire(nn.Module):
    def __init__(self, i: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Sequential(nn.Conv2d(i, squeeze, 1), nn.ReLU(inplace=True))
        self.one = nn.Sequential(nn.Conv2d(squeeze, expand, 1), nn.ReLU(inplace=True))
        self.three = nn.Sequential(nn.Conv2d(squeeze, expand, 3, padding=1), nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze(x)
        return torch.cat([self.one(x), self.three(x)], 1)


class DenseLayer(nn.Module):
    def __init__(self, i: int, grow: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.BatchNorm2d(i), nn.ReLU(inplace=True), nn.Conv2d(i, grow, 3, padding=1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.body(x)], 1)


def head(channels: int, classes: int = 10) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)]


def resnet() -> nn.Module:
    return nn.Sequential(conv_bn(3, 16), Residual(16, 16, 1), Residual(16, 32, 2), Residual(32, 32, 1), *head(32))


def mobilenet_v2() -> nn.Module:
    return nn.Sequential(conv_bn(3, 16, stride=2, act=nn.ReLU6), Inverted(16, 48, 16, 1, nn.ReLU6), Inverted(16, 48, 24, 2, nn.ReLU6),
                         Inverted(24, 72, 24, 1, nn.ReLU6), conv_bn(24, 64, 1, act=nn.ReLU6), nn.Dropout(0.2), *head(64))


def mobilenet_v3() -> nn.Module:
    return nn.Sequential(conv_bn(3, 16, stride=2, act=nn.Hardswish), Inverted(16, 32, 16, 1, nn.ReLU, True), Inverted(16, 40, 24, 2,
                    nn.Hardswish),
                         Inverted(24, 64, 24, 1, nn.Hardswish, True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 64),
                    nn.Hardswish(),
                         nn.Dropout(0.2), nn.Linear(64, 10))


def squeezenet() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 16, 3, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, ceil_mode=True), Fire(16, 8, 16), Fire(32, 8,
                    16),
                         nn.Dropout(), nn.Conv2d(32, 10, 1), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def vgg() -> nn.Module:
    return nn.Sequential(conv_bn(3, 16), nn.MaxPool2d(2), conv_bn(16, 32), nn.MaxPool2d(2), conv_bn(32, 32), nn.MaxPool2d(2),
                         nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(512, 32), nn.ReLU(), nn.Dropout(), nn.Linear(32, 10))


def densenet() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), DenseLayer(8, 8), DenseLayer(16, 8), nn.BatchNorm2d(24), nn.ReLU(),
                         nn.Conv2d(24, 12, 1), nn.AvgPool2d(2), DenseLayer(12, 8), *head(20))


def mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 32), nn.ReLU(), nn.Linear(32, 10))


NETS: dict[str, tuple[Build, tuple[int, ...]]] = {
    "resnet": (resnet, (3, 16, 16)), "mobilenet_v2": (mobilenet_v2, (3, 24, 24)), "mobilenet_v3": (mobilenet_v3, (3, 24, 24)),
    "squeezenet": (squeezenet, (3, 33, 33)), "vgg": (vgg, (3, 32, 32)), "densenet": (densenet, (3, 12, 12)), "mlp_net": (mlp, (1, 8, 8)),
}
CASES = {**OPS, **SPELLINGS, **NETS}
