"""Networks with what a runtime computes in float only (layer norm, GELU, transposed convolutions, masks), and attention of all kinds."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from parity_cases import IMAGE, Build, Fn, after_conv, aten, conv, conv_bn, seq, through
from torch import Tensor, nn
from torch.nn import functional as F


class SelfAttention(nn.Module):
    def __init__(self, mask: Tensor | None = None, weights: bool = False, norm: bool = True, **settings: Any) -> None:
        super().__init__()
        self.mask, self.weights = mask, weights
        self.attn = nn.MultiheadAttention(12, 3, batch_first=True, **settings)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.attn(x, x, x, attn_mask=self.mask, need_weights=self.weights)[0]
        return result


class Block(nn.Module):
    """timm's transformer block: one matrix for queries, keys and values."""

    def __init__(self, d: int, heads: int) -> None:
        super().__init__()
        self.heads, self.norm1, self.norm2 = heads, nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv, self.proj, self.fc1, self.fc2 = nn.Linear(d, 3 * d), nn.Linear(d, d), nn.Linear(d, 2 * d), nn.Linear(2 * d, d)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        x = x + self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, c))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class Vit(nn.Module):
    def __init__(self, size: int = 16, patch: int = 4, d: int = 24, depth: int = 2, heads: int = 3, classes: int = 10) -> None:
        super().__init__()
        n = (size // patch) ** 2
        self.patch = nn.Conv2d(3, d, patch, patch)
        self.token, self.place = nn.Parameter(torch.randn(1, 1, d) * 0.2), nn.Parameter(torch.randn(1, n + 1, d) * 0.2)
        self.blocks, self.norm, self.head = nn.Sequential(*(Block(d, heads) for _ in range(depth))), nn.LayerNorm(d), nn.Linear(d, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.place
        result: Tensor = self.head(self.norm(self.blocks(x))[:, 0])
        return result


class MobileVitBlock(nn.Module):
    """Convolutions, then attention among the places of each phase of 2x2 patches, then back (Mehta 2021, arXiv 2110.02178)."""

    def __init__(self, channels: int = 8, d: int = 12) -> None:
        super().__init__()
        self.near, self.lift = conv_bn(channels, channels, act=nn.SiLU), nn.Conv2d(channels, d, 1, bias=False)
        self.block, self.norm = Block(d, 2), nn.LayerNorm(d)
        self.drop, self.fuse = conv_bn(d, channels, 1, act=nn.SiLU), conv_bn(2 * channels, channels, act=nn.SiLU)

    def forward(self, x: Tensor) -> Tensor:
        y = self.lift(self.near(x))
        b, c, h, w = y.shape
        nh, nw = h // 2, w // 2
        y = y.reshape(b * c * nh, 2, nw, 2).transpose(1, 2).reshape(b, c, nh * nw, 4).transpose(1, 3).reshape(b * 4, nh * nw, c)
        y = self.norm(self.block(y)).view(b, 4, nh * nw, c).transpose(1, 3).reshape(b * c * nh, nw, 2, 2)
        y = y.transpose(1, 2).reshape(b, c, h, w)
        result: Tensor = self.fuse(torch.cat([x, self.drop(y)], 1))
        return result


class Windows(nn.Module):
    """Swin's attention in 3x3 windows, shifted, with a bias for each pair of places and a mask between windows."""

    def __init__(self, d: int = 8, heads: int = 2) -> None:
        super().__init__()
        self.heads, self.qkv = heads, nn.Linear(d, 3 * d)
        self.bias, self.mask = nn.Parameter(torch.randn(heads, 9, 9)), torch.zeros(4, 1, 9, 9)
        self.mask[1:, :, :4, 4:] = -100.0

    def forward(self, x: Tensor) -> Tensor:
        b, h, w, c = x.shape
        y = x.roll((-1, -1), (1, 2)).view(b, h // 3, 3, w // 3, 3, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, 9, c)
        q, k, v = self.qkv(y).reshape(-1, 9, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        scores = (q * 0.5) @ k.transpose(-2, -1) + self.bias.unsqueeze(0)
        scores = (scores.view(b, 4, self.heads, 9, 9) + self.mask.unsqueeze(0)).view(-1, self.heads, 9, 9)
        y = (scores.softmax(-1) @ v).transpose(1, 2).reshape(-1, 3, 3, c)
        return y.view(b, h // 3, w // 3, 3, 3, c).permute(0, 1, 3, 2, 4, 5).reshape(b, h, w, c).roll((1, 1), (1, 2))


def encoder(**settings: Any) -> Build:
    return lambda: nn.TransformerEncoderLayer(12, 3, 24, batch_first=settings.pop("batch_first", True), **settings)


def masked(function: Callable[[Tensor], Tensor]) -> Build:
    return lambda: Fn(lambda s, x: function(s.a(x)), a=nn.Linear(20, 7))


CAUSAL = torch.full((7, 7), float("-inf")).triu(1)
TOKENS = (7, 12)
FLOAT_OPS: dict[str, tuple[Build, tuple[int, ...]]] = {
    "layer_norm": (seq(lambda: nn.Linear(20, 12), lambda: nn.LayerNorm(12)), (7, 20)),
    "layer_norm_plain": (seq(lambda: nn.LayerNorm(20, elementwise_affine=False), lambda: nn.Linear(20, 5)), (7, 20)),
    "layer_norm_two_axes": (lambda: Fn(lambda s, x: s.n(s.a(x)), a=nn.Linear(20, 12), n=nn.LayerNorm((7, 12))), (7, 20)),
    "layer_norm_channels": (after_conv(lambda y: F.layer_norm(y.permute(0, 2, 3, 1), (8,)).permute(0, 3, 1, 2)), IMAGE),
    "group_norm": (seq(lambda: conv(3, 8, 3), lambda: nn.GroupNorm(4, 8), nn.ReLU), IMAGE),
    "group_norm_plain": (seq(lambda: conv(3, 8, 3), lambda: nn.GroupNorm(1, 8, affine=False)), IMAGE),
    "group_norm_1d": (seq(lambda: nn.Conv1d(6, 8, 3), lambda: nn.GroupNorm(2, 8)), (6, 12)),
    "instance_norm": (seq(lambda: conv(3, 8, 3), lambda: nn.InstanceNorm2d(8, affine=True), nn.ReLU, lambda: conv(8, 4)), IMAGE),
    "instance_norm_tracked": (seq(lambda: conv(3, 8, 3), lambda: nn.InstanceNorm2d(8, track_running_stats=True)), IMAGE),
    "gelu": (seq(lambda: nn.Linear(20, 12), nn.GELU, lambda: nn.Linear(12, 5)), (7, 20)),
    "gelu_tanh": (seq(lambda: nn.Linear(20, 12), lambda: nn.GELU("tanh")), (7, 20)),
    "tanh": (after_conv(torch.tanh), IMAGE),
    "elu": (after_conv(F.elu), IMAGE),
    "curves_in_place": (after_conv(through(aten.gelu_, aten.elu_, aten.tanh_)), IMAGE),
    "masked_softmax": (masked(lambda y: y.masked_fill(torch.eye(7, dtype=torch.bool), float("-inf")).softmax(-1)), (7, 20)),
    "masked_softmax_in_place": (masked(lambda y: y.masked_fill_(torch.eye(7, dtype=torch.bool), -1e5).softmax(-1)), (7, 20)),
    "masked_softmax_low": (masked(lambda y: (y + torch.eye(7) * -1e9).softmax(-1)), (7, 20)),
    "conv_transpose": (seq(lambda: conv(3, 8), lambda: nn.ConvTranspose2d(8, 4, 4, 2, 1), lambda: conv(4, 4, 3)), IMAGE),
    "conv_transpose_whole": (seq(lambda: nn.ConvTranspose2d(3, 4, 2, 2, bias=False), nn.ReLU), IMAGE),
    "conv_transpose_odd": (seq(lambda: nn.ConvTranspose2d(3, 4, (3, 5), (2, 1), (1, 2), (1, 0))), IMAGE),
    "conv_transpose_1d": (seq(lambda: nn.Conv1d(6, 8, 3), lambda: nn.ConvTranspose1d(8, 4, 4, 3, 2)), (6, 12)),
}
ATTENTION: dict[str, tuple[Build, tuple[int, ...]]] = {
    "self_attention": (SelfAttention, TOKENS),
    "self_attention_weights": (lambda: SelfAttention(weights=True, bias=False), TOKENS),
    "self_attention_causal": (lambda: SelfAttention(CAUSAL), TOKENS),
    "self_attention_mask": (lambda: SelfAttention(CAUSAL < 0), TOKENS),
    "cross_attention": (lambda: Fn(lambda s, x: s.m(s.a(x)[:, :3], x, x)[0], a=nn.Linear(12, 12),
                                   m=nn.MultiheadAttention(12, 3, batch_first=True)), TOKENS),
    "other_widths": (lambda: Fn(lambda s, x: s.m(x, s.a(x), s.b(x))[0], a=nn.Linear(12, 10), b=nn.Linear(12, 8),
                                m=nn.MultiheadAttention(12, 3, kdim=10, vdim=8, batch_first=True)), TOKENS),
    "sdpa_causal": (lambda: Fn(lambda s, x: F.scaled_dot_product_attention(s.a(x), s.b(x), x, is_causal=True, scale=0.2),
                               a=nn.Linear(12, 12), b=nn.Linear(12, 12)), TOKENS),
    "sdpa_bias": (lambda: Fn(lambda s, x: F.scaled_dot_product_attention(s.a(x), s.b(x), x, s.m), a=nn.Linear(12, 12), b=nn.Linear(12, 12),
                             m=torch.randn(7, 7)), TOKENS),
    "sdpa_computed_bias": (lambda: Fn(lambda s, x: F.scaled_dot_product_attention(s.a(x), s.a(x), x, s.b(x)), a=nn.Linear(12, 12),
                                      b=nn.Linear(12, 7)), TOKENS),
    "encoder": (encoder(), TOKENS),
    "encoder_gelu_first": (encoder(activation="gelu", norm_first=True), TOKENS),
    "encoder_time_first": (lambda: Fn(lambda s, x: s.m(x.permute(1, 0, 2)).permute(1, 0, 2), m=encoder(batch_first=False)()), TOKENS),
    "encoders": (lambda: nn.TransformerEncoder(encoder()(), 2, enable_nested_tensor=False), TOKENS),
    "windows": (Windows, (6, 6, 8)),
    "vit": (Vit, (3, 16, 16)),
    "mobile_vit": (MobileVitBlock, (8, 8, 8)),
}
