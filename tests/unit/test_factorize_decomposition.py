"""Decompositions of degenerate layers and inputs, and what is refused."""
from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from edgelr.errors import BadInputError, UsageError
from edgelr.factorize import Moments, decompose


def fed(layer: nn.Module, *batches: Tensor) -> Moments:
    moments = Moments(layer)
    for batch in batches:
        moments.update(batch)
    return moments


@pytest.mark.parametrize("scheme", ["channel", "spatial"])
@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_of_zeros_has_no_error_and_gives_zeros(scheme: str, bias: bool) -> None:
    layer, x = nn.Conv2d(4, 6, 3, bias=bias), torch.randn(2, 4, 6, 6)
    nn.init.zeros_(layer.weight)
    for moments in (None, fed(layer, x)):
        decomposition = decompose(layer, scheme, moments)
        assert decomposition.errors().sum() == 0
        torch.testing.assert_close(decomposition.pair(1)(x), layer(x))


@pytest.mark.parametrize("scheme", ["channel", "spatial"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("value", [0.0, 3.0])
def test_inputs_that_never_change_still_give_a_usable_layer(scheme: str, bias: bool, value: float) -> None:
    layer, x = nn.Conv2d(4, 6, 3, bias=bias), torch.full((2, 4, 6, 6), value)
    decomposition = decompose(layer, scheme, fed(layer, x))
    other = torch.randn(2, 4, 6, 6)
    torch.testing.assert_close(decomposition.pair(decomposition.max_rank)(other), layer(other), rtol=1e-4, atol=1e-5)
    for rank in (1, 3, decomposition.max_rank):
        assert all(torch.isfinite(p).all() for p in decomposition.pair(rank).parameters())
        torch.testing.assert_close(decomposition.pair(rank)(x), layer(x), rtol=1e-4, atol=1e-5)
    if bias or value == 0.0:
        assert decomposition.error(1) == 0.0


@pytest.mark.parametrize("shape", [(12, 30), (30, 12)])
def test_fewer_samples_than_inputs_leave_full_rank_exact_everywhere(shape: tuple[int, int]) -> None:
    """Five samples span five directions: on them rank 5 is exact, and off them full rank still is."""
    layer, x = nn.Linear(*shape, bias=False, dtype=torch.float64), torch.randn(5, shape[0], dtype=torch.float64)
    decomposition = decompose(layer, "linear", fed(layer, x))
    torch.testing.assert_close(decomposition.pair(5)(x), layer(x), rtol=1e-6, atol=1e-6)
    assert decomposition.error(5) < 1e-12
    other = torch.randn(50, shape[0], dtype=torch.float64)
    torch.testing.assert_close(decomposition.pair(decomposition.max_rank)(other), layer(other), rtol=1e-9, atol=1e-9)


def test_equal_rows_of_a_weight_count_once() -> None:
    layer = nn.Linear(10, 8, bias=False, dtype=torch.float64)
    with torch.no_grad():
        layer.weight[4:] = layer.weight[:4]
    x = torch.randn(100, 10, dtype=torch.float64)
    for moments in (None, fed(layer, x)):
        decomposition = decompose(layer, "linear", moments)
        assert decomposition.error(3) > 1e-3
        assert decomposition.error(4) < 1e-12
        torch.testing.assert_close(decomposition.pair(4)(x), layer(x), rtol=1e-9, atol=1e-9)


def test_whitening_keeps_the_direction_that_the_inputs_use_not_the_largest_weight() -> None:
    layer = nn.Linear(3, 3, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.diag(torch.tensor([10.0, 1.0, 1.0])))
    x = torch.randn(1000, 3) * torch.tensor([0.01, 5.0, 0.01])
    plain, aware = decompose(layer, "linear").product(1)[0], decompose(layer, "linear", fed(layer, x)).product(1)[0]
    assert plain[0, 0] == pytest.approx(10)
    assert aware[1, 1] == pytest.approx(1, rel=1e-3)
    assert abs(float(aware[0, 0])) < 0.1


def test_a_constant_offset_of_the_inputs_is_taken_up_by_the_bias_exactly() -> None:
    layer = nn.Linear(8, 8, dtype=torch.float64)
    x = torch.randn(400, 8, dtype=torch.float64)
    offset = 100 * torch.randn(8, dtype=torch.float64)
    centred, shifted = decompose(layer, "linear", fed(layer, x)), decompose(layer, "linear", fed(layer, x + offset))
    torch.testing.assert_close(centred.errors(), shifted.errors(), rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(shifted.pair(3)(x + offset).mean(dim=0), layer(x + offset).mean(dim=0), rtol=1e-9, atol=1e-9)


def test_the_same_layer_is_decomposed_the_same_each_time_and_draws_no_random_numbers() -> None:
    layer, x = nn.Conv2d(4, 6, 3), torch.randn(2, 4, 6, 6)
    state = torch.get_rng_state()
    first, second = (decompose(layer, "spatial", fed(layer, x)).pair(4).state_dict() for _ in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert torch.equal(state, torch.get_rng_state())


def test_the_pair_keeps_half_precision() -> None:
    layer = nn.Linear(8, 8).to(torch.bfloat16)
    decomposition = decompose(layer, "linear")
    assert {p.dtype for p in decomposition.pair(3).parameters()} == {torch.bfloat16}
    assert decomposition.product(3)[0].dtype == torch.bfloat16


def test_training_the_layer_later_leaves_its_decomposition_as_it_was() -> None:
    layer = nn.Linear(8, 8, dtype=torch.float64)
    decomposition = decompose(layer, "linear")
    before = decomposition.pair(3).state_dict()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(1.0)
    after = decomposition.pair(3).state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_what_can_not_be_decomposed_is_refused_with_the_reason() -> None:
    layer = nn.Linear(8, 8)
    with pytest.raises(UsageError, match="spatial"):
        decompose(layer, "spatial")
    with pytest.raises(BadInputError, match="no calibration input"):
        decompose(layer, "linear", Moments(layer))
    with pytest.raises(UsageError, match="another layer"):
        decompose(layer, "linear", fed(nn.Linear(4, 4), torch.randn(3, 4)))
    for rank in (0, 9):
        with pytest.raises(UsageError, match=f"rank {rank}"):
            decompose(layer, "linear").pair(rank)
    with torch.no_grad():
        layer.weight[0, 0] = float("nan")
    with pytest.raises(BadInputError, match="NaN"):
        decompose(layer, "linear")


def test_directions_that_the_inputs_never_excite_come_last_and_by_their_weight() -> None:
    """The outputs see input 0 only. Of the silent rest the heavier direction is kept first."""
    turn, _ = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64))
    layer = nn.Linear(4, 4, bias=False, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(turn @ torch.diag(torch.tensor([1.0, 2.0, 9.0, 5.0], dtype=torch.float64)))
    x = torch.zeros(10, 4, dtype=torch.float64)
    x[:, 0] = torch.randn(10)
    decomposition = decompose(layer, "linear", fed(layer, x))
    lost = [float((decomposition.product(rank)[0] - layer.weight).square().sum().detach()) for rank in (1, 2, 3)]
    assert lost == pytest.approx([4 + 81 + 25, 4 + 25, 4])
    assert decomposition.errors()[1:].tolist() == [0, 0, 0, 0]


def test_the_spatial_refit_leaves_alone_what_the_inputs_do_not_determine() -> None:
    layer = nn.Conv2d(4, 8, 3, bias=False, dtype=torch.float64)
    x = torch.randn(8, 4, 8, 8, dtype=torch.float64)
    x[:, 2:] = 0
    decomposition = decompose(layer, "spatial", fed(layer, x))
    weight, _ = decomposition.product(decomposition.max_rank - 1)
    dense = layer.weight.detach()
    silent = (weight - dense)[:, 2:].square().sum() / dense[:, 2:].square().sum()
    assert float(silent) < 0.2


def test_where_the_columns_of_a_patch_are_alike_spatial_is_still_no_worse_than_plain() -> None:
    """Smooth images: the average over the columns misleads here, and the split by the weight alone is the better start."""
    torch.manual_seed(10)
    layer = nn.Conv2d(6, 2, (3, 5), padding=1).double()
    x = torch.randn(3, 6, 9, 11, dtype=torch.float64).cumsum(dim=3).cumsum(dim=2)
    target = layer(x)
    plain, aware = decompose(layer, "spatial"), decompose(layer, "spatial", fed(layer, x))
    assert len(aware.splits) == 2
    for rank in range(1, aware.max_rank):
        lost = [float((d.pair(rank)(x) - target).square().sum().detach()) for d in (aware, plain)]
        assert lost[0] <= lost[1]


@pytest.mark.parametrize("aware", [True, False])
def test_signs_are_fixed_by_the_largest_weight_of_the_second_layer(aware: bool) -> None:
    layer = nn.Linear(9, 8)
    moments = fed(layer, torch.randn(100, 9)) if aware else None
    second = decompose(layer, "linear", moments).pair(8).state_dict()["1.weight"]
    assert (second.gather(0, second.abs().argmax(dim=0, keepdim=True)) > 0).all()
