"""Transformers that bench_attention.py runs: random weights, which tell of latency, bytes and the error of rounding."""
from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Encoder(nn.Module):
    """``layers`` of torch's encoder on [tokens, d], norm first, GELU, then the mean over tokens and ten classes."""

    def __init__(self, d: int, layers: int = 2, heads: int = 4, tokens: int = 64) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.randn(1, tokens, d) * 0.02)
        self.body = nn.Sequential(*(nn.TransformerEncoderLayer(d, heads, 4 * d, activation="gelu", batch_first=True, norm_first=True)
                                    for _ in range(layers)))
        self.head = nn.Linear(d, 10)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.head(self.body(x + self.place).mean(1))
        return result


class Block(nn.Module):
    def __init__(self, d: int, heads: int) -> None:
        super().__init__()
        self.heads, self.norm1, self.norm2 = heads, nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv, self.proj, self.fc1, self.fc2 = nn.Linear(d, 3 * d), nn.Linear(d, d), nn.Linear(d, 4 * d), nn.Linear(4 * d, d)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        x = x + self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, c))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class Vit(nn.Module):
    """The shape of timm's vit_tiny_patch16_224 (Touvron 2021, arXiv 2012.12877), of ``depth`` blocks."""

    def __init__(self, depth: int = 12, size: int = 224, patch: int = 16, d: int = 192, heads: int = 3, classes: int = 1000) -> None:
        super().__init__()
        n = (size // patch) ** 2
        self.patch = nn.Conv2d(3, d, patch, patch)
        self.token, self.place = nn.Parameter(torch.randn(1, 1, d) * 0.02), nn.Parameter(torch.randn(1, n + 1, d) * 0.02)
        self.blocks, self.norm, self.head = nn.Sequential(*(Block(d, heads) for _ in range(depth))), nn.LayerNorm(d), nn.Linear(d, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.place
        result: Tensor = self.head(self.norm(self.blocks(x))[:, 0])
        return result
