"""Moments: bounded memory, fair subsampling, and collection over a whole network."""
from __future__ import annotations

import resource

import pytest
import torch
from torch import Tensor, nn

from edgelr.errors import BadInputError, UsageError
from edgelr.factorize import Moments, collect_moments, decompose, moments_size_bytes


def held_bytes(moments: Moments) -> int:
    return sum(v.numel() * v.element_size() for v in vars(moments).values() if isinstance(v, Tensor))


def test_what_is_held_does_not_grow_with_samples() -> None:
    layer = nn.Conv2d(4, 8, 3, groups=2)
    moments = Moments(layer)
    before = held_bytes(moments)
    for _ in range(50):
        moments.update(torch.randn(4, 4, 8, 8))
    assert held_bytes(moments) == before == moments_size_bytes(layer)


def test_a_large_batch_is_never_unfolded_whole() -> None:
    """All patches of this batch would take 925 MB in float32, and twice that in float64."""
    layer = nn.Conv2d(64, 64, 3, padding=1)
    x = torch.randn(8, 64, 224, 224)
    moments = Moments(layer)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    moments.update(x)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400 * 1024
    assert moments.count == 8 * 224 * 224


def test_a_subsample_stands_for_all_patches_of_its_batch() -> None:
    """Batches of unequal size keep their share, and image columns are not favoured: the size here divides evenly into the limit."""
    layer = nn.Conv2d(1, 4, 1)
    ramp = torch.arange(64.0).expand(1, 64, 64)
    sampled, whole = Moments(layer, max_rows=256), Moments(layer, max_rows=10**9)
    for batch in (torch.stack([ramp] * 4), torch.stack([ramp + 100])):
        sampled.update(batch)
        whole.update(batch)
    assert sampled.count == whole.count
    assert float(sampled.mean) == pytest.approx(float(whole.mean), rel=0.01)
    assert float(sampled.covariance) == pytest.approx(float(whole.covariance), rel=0.02)


def test_an_input_without_a_batch_dimension_counts_as_one_sample() -> None:
    layer, x = nn.Conv2d(2, 4, 3, padding=1), torch.randn(2, 6, 6)
    one, other = Moments(layer), Moments(layer)
    one.update(x)
    other.update(x[None])
    assert torch.equal(one.second, other.second)


class Network(nn.Module):
    """Branches, a layer used twice, a layer that is not used, and inputs by keyword."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.drop = nn.Dropout(0.5)
        self.twice = nn.Conv2d(8, 8, 3, padding=1)
        self.unused = nn.Linear(8, 8)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.drop(self.norm(self.stem(x)).relu())
        x = self.twice(self.twice(x))
        out: Tensor = self.head(input=x.mean(dim=(2, 3)))
        return out


def test_collection_sees_what_each_layer_reads_and_leaves_the_network_as_it_was() -> None:
    network = Network().train()
    network.norm.eval()
    state = {key: value.clone() for key, value in network.state_dict().items()}
    batches = [torch.randn(4, 3, 8, 8) for _ in range(3)]
    moments = collect_moments(network, ["stem", "twice", "unused", "head"], batches)

    assert set(moments) == {"stem", "twice", "head"}
    assert {name: m.count for name, m in moments.items()} == {"stem": 12 * 64, "twice": 2 * 12 * 64, "head": 12}
    assert network.training
    assert network.drop.training
    assert not network.norm.training
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    assert not network.stem._forward_pre_hooks

    network.eval()
    reads: list[Tensor] = []
    network.head.register_forward_pre_hook(lambda _, args, kwargs: reads.append(kwargs["input"]), with_kwargs=True)
    for batch in batches:
        network(batch)
    rows = torch.cat(reads).detach().double()
    torch.testing.assert_close(moments["head"].second[0], rows.T @ rows / len(rows), rtol=1e-6, atol=1e-9)
    assert decompose(network.head, "linear", moments["head"]).error(4) == 0.0


def test_inputs_that_are_not_numbers_are_named_with_their_layer_and_the_hooks_are_gone() -> None:
    network = Network()
    with pytest.raises(BadInputError, match="'stem'"):
        collect_moments(network, ["stem"], [torch.full((1, 3, 8, 8), float("nan"))])
    assert not network.stem._forward_pre_hooks
    assert network.training


def test_a_name_that_the_network_lacks_is_told() -> None:
    with pytest.raises(UsageError, match="'stm'"):
        collect_moments(Network(), ["stm"], [])
