"""The way a network is run in training."""
from __future__ import annotations

import pytest
import torch
from lowrank_sample import batches, small_net
from torch import Tensor, nn

from edgelr.training import Schedule, forward_of, supervised, train
from edgelr.training.precision import chosen, quick_bfloat16


def test_bfloat16_changes_what_is_computed_but_not_what_is_kept() -> None:
    net, x = small_net().eval(), torch.randn(4, 1, 8, 8)
    plain, low = (forward_of(net, p)(x) for p in ("float32", "bfloat16"))  # type: ignore[arg-type]
    assert plain.dtype == low.dtype == torch.float32 and all(p.dtype == torch.float32 for p in net.parameters())
    assert torch.equal(plain, net(x))
    assert not torch.equal(plain, low) and torch.allclose(plain, low, atol=0.05)


def test_what_is_chosen_is_of_the_processor_and_the_network() -> None:
    assert chosen(nn.GRU(3, 4), "auto") == "float32" and chosen(nn.GRU(3, 4), "bfloat16") == "bfloat16"
    assert chosen(small_net(), "auto") == ("bfloat16" if quick_bfloat16() else "float32")


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_weights_and_inputs_lie_channels_last_and_a_network_learns_in_either(precision: str) -> None:
    net = small_net()
    forward = forward_of(net, precision)  # type: ignore[arg-type]
    heard: list[float] = []

    def seen(x: Tensor) -> Tensor:
        assert x.is_contiguous(memory_format=torch.channels_last)
        return forward(x)

    train([(0.05, list(net.parameters()))], supervised(seen, None, "scores"), batches(), Schedule(2, "sgd"), lambda p: heard.append(p.loss))
    assert heard[1] < 0.7 * heard[0]
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in net.parameters() if p.dim() == 4)
