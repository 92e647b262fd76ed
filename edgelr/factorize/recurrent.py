"""What stands in for an nn.LSTM or nn.GRU whose gate matrices are factorised."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn


class Product(nn.Module):
    """A gate matrix [gates * hidden, inputs] as ``left`` [gates * hidden, r] @ ``right`` [r, inputs].

    Where ``right`` is [gates * r, inputs] each gate has a pair of its own: its rows of ``left``, and of ``right``.
    """

    def __init__(self, left: Tensor, right: Tensor) -> None:
        super().__init__()
        self.left, self.right = nn.Parameter(left.detach().clone()), nn.Parameter(right.detach().clone())

    def forward(self) -> Tensor:
        rank, inputs = self.left.shape[1], self.right.shape[1]
        pairs = self.right.shape[0] // rank
        return (self.left.reshape(pairs, -1, rank) @ self.right.reshape(pairs, rank, inputs)).flatten(0, 1)


class FactoredRecurrent(nn.Module):
    """An nn.LSTM or nn.GRU (``mode`` says which) with some gate matrices as products; takes and returns what that does, for [batch, steps,
    features] or with the first two axes swapped.

    A factorised matrix weight_ih_l0 is the module of that name, with the parameters left and right; all others are parameters as they were.
    """

    def __init__(self, module: nn.LSTM | nn.GRU, factors: Mapping[str, tuple[Tensor, Tensor, Tensor | None]]) -> None:
        """``factors`` by the matrices' names: right factor, left factor, and the bias that goes with them."""
        super().__init__()
        self.mode, self.input_size, self.hidden_size, self.proj_size = module.mode, module.input_size, module.hidden_size, module.proj_size
        self.num_layers, self.bidirectional, self.batch_first = module.num_layers, module.bidirectional, module.batch_first
        self.bias, self.dropout = module.bias, module.dropout
        biases = {name.replace("weight", "bias", 1): bias for name, (_, _, bias) in factors.items()}
        self._order = [name for name, _ in module.named_parameters()]
        for name, parameter in module.named_parameters():
            if name in factors:
                right, left, _ = factors[name]
                self.add_module(name, Product(left, right))
            else:
                changed = biases.get(name)
                self.register_parameter(name, nn.Parameter((parameter if changed is None else changed).detach().clone()))

    def flatten_parameters(self) -> None:
        """Nothing to do; networks call it before a forward pass."""

    def matrices(self) -> list[Tensor]:
        """All parameters in torch's order, products multiplied out."""
        found = (getattr(self, name) for name in self._order)
        return [f() if isinstance(f, Product) else cast(Tensor, f) for f in found]

    def multiplied(self) -> nn.LSTM | nn.GRU:
        """torch's own module with the same weights, products multiplied out."""
        options: dict[str, Any] = {"batch_first": self.batch_first, "bidirectional": self.bidirectional, "bias": self.bias}
        options |= {"dropout": self.dropout} | ({"proj_size": self.proj_size} if self.proj_size else {})
        kind: Any = nn.LSTM if self.mode == "LSTM" else nn.GRU
        # Starting on "meta" leaves torch's random generator alone.
        made = kind(self.input_size, self.hidden_size, self.num_layers, device="meta", **options).to_empty(device="cpu")
        with torch.no_grad():
            for parameter, value in zip(made.parameters(), self.matrices(), strict=True):
                parameter.copy_(value)
        made.train(self.training)
        return cast("nn.LSTM | nn.GRU", made)

    def forward(self, input: Tensor, hx: Any = None) -> tuple[Tensor, Any]:
        rest = (self.matrices(), self.bias, self.num_layers, self.dropout, self.training, self.bidirectional, self.batch_first)
        if hx is None:
            batch, layers = input.shape[0 if self.batch_first else 1], self.num_layers * (2 if self.bidirectional else 1)
            hidden, cell = (input.new_zeros(layers, batch, n) for n in (self.proj_size or self.hidden_size, self.hidden_size))
            hx = (hidden, cell) if self.mode == "LSTM" else hidden
        if self.mode == "LSTM":
            output, hidden, cell = torch.lstm(input, hx, *rest)
            return output, (hidden, cell)
        output, hidden = torch.gru(input, hx, *rest)
        return output, hidden
