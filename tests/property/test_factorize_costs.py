"""The closed forms of cost equal what is counted on the built pair: its parameters, and its multiplications one by one."""
from __future__ import annotations

from math import prod

from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor, nn, randn

from edgelr.factorize import break_even_rank, choice_cost, decompose, max_rank, schemes_of
from edgelr.vocabulary import DENSE, Choice, Layer


@st.composite
def layers(draw: st.DrawFn) -> tuple[nn.Module, tuple[int, ...]]:
    """A layer and the shape of one input."""
    kind, bias = draw(st.sampled_from(["conv2d", "conv2d", "conv1d", "linear"])), draw(st.booleans())
    if kind == "linear":
        leading = draw(st.sampled_from([(), (5,), (2, 3)]))
        features = draw(st.integers(2, 9))
        return nn.Linear(features, draw(st.integers(2, 9)), bias), (*leading, features)
    directions = 1 if kind == "conv1d" else 2

    def each(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in range(directions))

    groups = draw(st.integers(1, 3))
    channels = groups * draw(st.integers(1, 5))
    conv = (nn.Conv1d if directions == 1 else nn.Conv2d)(
        channels, groups * draw(st.integers(1, 6)), each(1, 5), each(1, 3), each(0, 4), each(1, 2), groups, bias
    )
    return conv, (channels, *each(9, 13))


def described(module: nn.Module, in_shape: tuple[int, ...]) -> Layer:
    kind = type(module).__name__.lower()
    return Layer(
        name="layer", kind=kind, weight_shape=tuple(module.weight.shape), in_shape=in_shape,
        out_shape=tuple(module(randn(1, *in_shape)).shape[1:]), params=0, macs=None, bytes=0, bias=module.bias is not None,
        groups=getattr(module, "groups", 1), stride=getattr(module, "stride", ()),
    )


def counted(module: nn.Module, in_shape: tuple[int, ...]) -> tuple[int, int]:
    """Parameters, and MACs: each output number of each layer that runs takes one for each number it reads."""
    macs = 0

    def count(layer: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal macs
        reads = layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels // layer.groups * prod(layer.kernel_size)
        macs += output.numel() * reads

    parts = [part for part in module.modules() if hasattr(part, "weight") and not isinstance(part, nn.Sequential)]
    hooks = [part.register_forward_hook(count) for part in parts]
    module(randn(1, *in_shape))
    for hook in hooks:
        hook.remove()
    return sum(p.numel() for p in module.parameters()), macs


@given(layers())
def test_the_dense_cost_is_what_is_counted(case: tuple[nn.Module, tuple[int, ...]]) -> None:
    module, in_shape = case
    assert choice_cost(described(module, in_shape), DENSE) == counted(module, in_shape)


@given(layers(), st.data())
def test_a_pairs_cost_is_what_is_counted(case: tuple[nn.Module, tuple[int, ...]], data: st.DataObject) -> None:
    module, in_shape = case
    schemes, _ = schemes_of(module)
    assume(schemes)
    scheme = data.draw(st.sampled_from(schemes))
    decomposition = decompose(module, scheme)
    rank = data.draw(st.integers(1, decomposition.max_rank))
    assert choice_cost(described(module, in_shape), Choice(scheme, rank)) == counted(decomposition.pair(rank), in_shape)


@given(layers(), st.sampled_from(["params", "macs"]))
def test_break_even_is_the_last_rank_that_is_strictly_cheaper(case: tuple[nn.Module, tuple[int, ...]], cost: str) -> None:
    module, in_shape = case
    layer, which = described(module, in_shape), ["params", "macs"].index(cost)
    dense = choice_cost(layer, DENSE)[which]
    for scheme in schemes_of(module)[0]:
        ranks = range(1, max_rank(layer.weight_shape, scheme, layer.groups) + 1)
        cheaper = [rank for rank in ranks if choice_cost(layer, Choice(scheme, rank))[which] < dense]
        assert break_even_rank(layer, scheme, cost) == max(cheaper, default=0)


@given(layers())
def test_a_layer_is_offered_schemes_only_where_rank_1_saves_parameters(case: tuple[nn.Module, tuple[int, ...]]) -> None:
    module, in_shape = case
    layer = described(module, in_shape)
    schemes, reason = schemes_of(module)
    assert bool(schemes) != bool(reason)
    assert all(break_even_rank(layer, scheme, "params") >= 1 for scheme in schemes)
