"""Small recurrent networks and factors for tests."""
from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from edgelr.graph.ops.recurrent import GateMatrix


class RecurrentNet(nn.Module):
    """Sequences [batch, 7, 6] through a recurrent layer; its output, last step or final state through a linear one."""

    def __init__(self, kind: str, read: str, batch_first: bool, hidden: int = 8, **options: Any) -> None:
        super().__init__()
        self.rnn = {"LSTM": nn.LSTM, "GRU": nn.GRU}[kind](6, hidden, batch_first=batch_first, **options)
        self.read, self.batch_first = read, batch_first
        self.head = nn.Linear((options.get("proj_size") or hidden) * (2 if options.get("bidirectional") else 1), 3)

    def forward(self, x: Tensor) -> Tensor:
        y, final = self.rnn(x if self.batch_first else x.transpose(0, 1))
        h = final if isinstance(final, Tensor) else final[0]
        if self.read == "final state":
            return self.head(torch.cat([h[-2], h[-1]], 1) if self.rnn.bidirectional else h[-1])
        if self.read == "last":
            return self.head(y[:, -1] if self.batch_first else y[-1])
        return self.head(y if self.batch_first else y.permute(1, 0, 2))


def factors(gates: int, n: int, k: int, rank: int, per_gate: bool) -> GateMatrix:
    """Random low-rank gate matrices with products of about a trained network's size."""
    if per_gate:
        return GateMatrix(tuple(torch.randn(n, rank) / 2 for _ in range(gates)), torch.randn(gates * rank, k) / 2)
    return GateMatrix((torch.randn(gates * n, rank) / 2,), torch.randn(rank, k) / 2)
