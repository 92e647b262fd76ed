"""Low-rank projection with energy transfer: what a projection keeps, how batch norm and momentum are taken in, and what is written."""
from __future__ import annotations

from typing import Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lowrank_sample import PLAN, accuracy, batches, fit, matrix_of, stepped, trained_net, with_spectrum
from torch import Tensor, nn

from edgelr.factorize import decompose, named_layers, rebuild
from edgelr.training import Lrpet, LrpetSettings, matrices, recalibrate
from edgelr.training.lrpet import gains, projected, tangent
from edgelr.training.method import Matrix
from edgelr.vocabulary import Scheme

SPECTRUM = [4.0, 3.0, 2.0, 1.0]


def norm_of(variance: Tensor, gain: Tensor | None) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(len(variance), affine=gain is not None).double()
    assert norm.running_var is not None
    norm.running_var.copy_(variance)
    if gain is not None:
        with torch.no_grad():
            norm.weight.copy_(gain)
    return norm


def rank_of(matrices: Tensor) -> int:
    singular = torch.linalg.svdvals(matrices)
    return int((singular > 1e-9 * singular[:, :1]).sum(dim=1).max())


@pytest.mark.parametrize(("tail", "head"), [(0.0, 30 / 25), (0.5, (30 - 0.25 * 5) / 25)])
def test_singular_values_take_over_the_energy_in_proportion_and_vectors_stay(tail: float, head: float) -> None:
    given = with_spectrum(SPECTRUM, 7, 5)[None]
    made, left, right = projected(given, 2, tail)
    assert torch.linalg.svdvals(made)[0, :4].tolist() == pytest.approx([4 * head**0.5, 3 * head**0.5, 2 * tail, tail], abs=1e-9)
    assert float(made.norm()) == pytest.approx(float(given.norm()), rel=1e-12)
    u, _, vh = torch.linalg.svd(given, full_matrices=False)
    for found, wanted in ((left, u[:, :, :2]), (right, vh[:, :2].transpose(1, 2))):
        assert torch.allclose(found @ found.transpose(1, 2), wanted @ wanted.transpose(1, 2), atol=1e-9)
    assert torch.allclose(u.transpose(1, 2) @ made @ vh.transpose(1, 2), torch.diag(torch.linalg.svdvals(made)[0])[None], atol=1e-9)


def test_without_energy_transfer_it_is_the_nearest_matrix_of_the_rank() -> None:
    given = with_spectrum(SPECTRUM, 5, 7)[None]
    made, _, _ = projected(given, 3, energy_transfer=False)
    assert float((made - given).square().sum()) == pytest.approx(1.0, rel=1e-9) and rank_of(made) == 3


@given(st.integers(0, 1000), st.integers(1, 6), st.floats(0, 1), st.floats(1e-9, 1e9))
def test_the_norm_of_every_group_is_kept_at_any_scale_and_twice_is_once(seed: int, rank: int, tail: float, scale: float) -> None:
    given = scale * torch.randn(3, 6, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    made, _, _ = projected(given, rank, tail)
    assert torch.allclose(made.norm(dim=(1, 2)), given.norm(dim=(1, 2)), rtol=1e-9)
    low, _, _ = projected(given, rank)
    assert rank_of(low) <= rank
    assert torch.allclose(projected(low, rank)[0], low, rtol=0, atol=1e-9 * scale)
    assert rank < 6 or torch.allclose(low, given, rtol=0, atol=1e-9 * scale)


def test_zeros_and_groups_of_zeros_stay_zeros() -> None:
    given = torch.stack([torch.zeros(4, 5), torch.randn(4, 5)])
    made, _, _ = projected(given, 2)
    assert not made[0].any() and float(made[1].norm()) == pytest.approx(float(given[1].norm()), rel=1e-5)


def project(matrix: Matrix, norm: nn.Module | None, **settings: object) -> tuple[Tensor, Tensor]:
    """Its matrices before and after."""
    before = matrix.view().detach().clone()
    Lrpet([matrix], {} if norm is None else {"w": norm}, LrpetSettings(**settings)).project()  # type: ignore[arg-type]
    return before, matrix.view().detach()


SHAPES: dict[str, tuple[tuple[int, ...], Scheme, int]] = {
    "channel": ((8, 3, 3, 3), "channel", 1), "grouped": ((8, 3, 3, 3), "channel", 2), "spatial": ((6, 4, 3, 2), "spatial", 1),
    "spatial, grouped": ((6, 4, 3, 2), "spatial", 2), "linear": ((8, 9), "linear", 1),
}  # fmt: skip


@pytest.mark.parametrize("case", SHAPES)
def test_gains_scale_the_rows_of_the_matrix_as_batch_norm_scales_the_outputs(case: str) -> None:
    shape, scheme, groups = SHAPES[case]
    matrix = matrix_of(torch.randn(shape, dtype=torch.float64), 2, scheme, groups)
    norm = norm_of(torch.rand(shape[0]) + 0.2, torch.randn(shape[0]))
    rows = gains(matrix, norm)
    assert rows is not None and norm.running_var is not None
    scale = (norm.weight / torch.sqrt(norm.running_var + norm.eps)).detach()
    scaled = matrix_of(matrix.weight.detach() * scale.reshape(-1, *[1] * (len(shape) - 1)), 2, scheme, groups)
    assert torch.allclose(rows * matrix.view(), scaled.view(), rtol=1e-12)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("case", SHAPES)
def test_rectified_it_is_the_weight_with_its_batch_norm_that_has_the_rank_and_keeps_its_norm(case: str, affine: bool) -> None:
    shape, scheme, groups = SHAPES[case]
    matrix = matrix_of(torch.randn(shape, dtype=torch.float64), 2, scheme, groups)
    norm = norm_of(torch.rand(shape[0]) + 0.2, torch.rand(shape[0]) * 3 + 0.5 if affine else None)
    rows = gains(matrix, norm)
    assert rows is not None
    before, after = project(matrix, norm)
    assert rank_of(after) <= 2 and rank_of(rows * after) <= 2
    wanted, _, _ = projected(rows * before, 2)
    assert torch.allclose(rows * after, wanted, rtol=1e-3, atol=1e-3 * float(wanted.abs().max()))  # up to the regularised inverse
    assert torch.allclose((rows * after).norm(dim=(1, 2)), (rows * before).norm(dim=(1, 2)), rtol=1e-3)


def test_rectified_it_is_nearer_in_what_batch_norm_lets_through() -> None:
    weight = torch.randn(16, 12, dtype=torch.float64)
    norm = norm_of(torch.logspace(-2, 2, 16), torch.ones(16))
    found = {}
    for rectify in (True, False):
        matrix = matrix_of(weight, 4)
        rows = gains(matrix, norm)
        assert rows is not None
        before, after = project(matrix, norm, rectify=rectify, energy_transfer=False)
        found[rectify] = float((rows * (after - before)).norm())
    assert found[True] < 0.9 * found[False]


def test_channels_that_batch_norm_shuts_end_as_0_and_nothing_is_infinite() -> None:
    gain = torch.tensor([1.0, 0.0, -2.0, 1e-30, 0.5, 0.0])
    matrix = matrix_of(torch.randn(6, 4, 3, 3), 2, "spatial")
    norm = nn.BatchNorm2d(6)
    with torch.no_grad():
        norm.weight.copy_(gain)
    optimizer = stepped(matrix)
    optimizer.state[matrix.weight]["momentum_buffer"] = torch.randn(6, 4, 3, 3)
    method = Lrpet([matrix], {"w": norm})
    method.start(1, optimizer)
    method.project()
    assert torch.isfinite(matrix.weight).all() and torch.isfinite(optimizer.state[matrix.weight]["momentum_buffer"]).all()
    assert float(matrix.weight.detach()[gain.abs() < 1e-20].abs().max()) < 1e-20
    with torch.no_grad():
        norm.weight.zero_()
    method.project()
    assert not matrix.weight.detach().any()


@pytest.mark.parametrize("spread", [1e-6, 1e6, 1e12])
def test_the_unit_of_the_layers_outputs_does_not_matter(spread: float) -> None:
    weight, variance, gain = torch.randn(6, 5, dtype=torch.float64), torch.rand(6) + 0.5, torch.rand(6) + 0.5
    found = []
    for factor in (1.0, spread):
        norm, matrix = norm_of(variance * factor, gain), matrix_of(weight, 2)
        norm.eps = 0.0
        found.append(project(matrix, norm)[1])
    assert torch.allclose(found[0], found[1], rtol=1e-5)


def test_a_layer_without_batch_norm_is_projected_as_it_is() -> None:
    matrix = matrix_of(torch.randn(8, 3, 3, 3, dtype=torch.float64), 2, "channel")
    before, after = project(matrix, None)
    assert torch.allclose(after, projected(before, 2)[0], rtol=1e-12)


def test_the_tangent_space_is_that_of_the_curves_of_the_rank() -> None:
    left, right = torch.randn(2, 7, 3, dtype=torch.float64), torch.randn(2, 3, 5, dtype=torch.float64)
    u, v = torch.linalg.qr(left).Q, torch.linalg.qr(right.transpose(1, 2)).Q
    along = torch.randn_like(left) @ right + left @ torch.randn_like(right)  # the derivative of a curve (A + t C)(B + t D)
    assert torch.allclose(tangent(along, u, v), along, rtol=1e-9)
    values, other = torch.randn(2, 7, 5, dtype=torch.float64), torch.randn(2, 7, 5, dtype=torch.float64)
    kept = tangent(values, u, v)
    assert torch.allclose(tangent(kept, u, v), kept, rtol=1e-9)
    assert float((kept * (values - kept)).sum()) == pytest.approx(0, abs=1e-9)
    assert float((tangent(other, u, v) * values).sum()) == pytest.approx(float((other * kept).sum()), rel=1e-9)
    assert float((values - kept).norm()) > 0.1


@pytest.mark.parametrize("rectified", [True, False])
@pytest.mark.parametrize("momentum", ["keep", "tangent", "zero"])
def test_momentum_after_a_projection(momentum: Literal["keep", "tangent", "zero"], rectified: bool) -> None:
    matrix = matrix_of(torch.randn(6, 4, 3, 3, dtype=torch.float64), 3, "spatial")
    norm = norm_of(torch.rand(6) + 0.1, torch.rand(6) + 0.5)
    optimizer, velocity = stepped(matrix), torch.randn(6, 4, 3, 3, dtype=torch.float64)
    optimizer.state[matrix.weight]["momentum_buffer"] = velocity.clone()
    method = Lrpet([matrix], {"w": norm} if rectified else {}, LrpetSettings(momentum=momentum))
    method.start(10, optimizer)
    method.project()
    found = optimizer.state[matrix.weight]["momentum_buffer"]
    if momentum == "keep":
        assert torch.equal(found, velocity)
    elif momentum == "zero":
        assert not found.any()
    else:  # a small step along it leaves the rank, up to the square of the step
        assert 0 < float(found.norm()) < float(velocity.norm())

        def beyond(direction: Tensor, step: float) -> float:
            moved = matrix_of(matrix.weight.detach() + step * direction, 3, "spatial")
            return float(torch.linalg.svdvals(moved.view().detach())[:, 3:].norm())

        assert beyond(found, 1e-4) < 1e-3 * beyond(velocity, 1e-4)
        assert beyond(found, 2e-3) / beyond(found, 1e-3) == pytest.approx(4, rel=0.1)


@pytest.mark.parametrize(("every", "expected"), [(3, [3, 6, 7]), (0, [7]), (100, [7])])
def test_weights_have_their_rank_every_so_many_steps_and_at_the_end(every: int, expected: list[int]) -> None:
    matrix = matrix_of(torch.randn(6, 5, dtype=torch.float64), 2)
    method, seen = Lrpet([matrix], {}, LrpetSettings(every)), []
    method.start(7, stepped(matrix))
    for step in range(1, 8):
        with torch.no_grad():
            matrix.weight.add_(torch.randn(6, 5, dtype=torch.float64))
        method.after_step(step)
        if step == 7:
            method.finish()
        seen += [step] if rank_of(matrix.view().detach()) == 2 else []
    assert seen == expected and method.penalty() is None


def test_a_tail_is_left_on_the_way_but_not_at_the_end() -> None:
    matrix = matrix_of(with_spectrum(SPECTRUM, 6, 5), 2)
    method = Lrpet([matrix], {}, LrpetSettings(1, tail=0.5))
    method.start(1, stepped(matrix))
    method.after_step(1)
    assert torch.linalg.svdvals(matrix.weight.detach())[2:4].tolist() == pytest.approx([1, 0.5])
    method.finish()
    assert rank_of(matrix.view().detach()) == 2


@pytest.mark.parametrize("momentum", ["tangent", "zero"])
def test_trained_with_it_a_net_is_exactly_its_factors_and_beats_truncation(momentum: Literal["tangent", "zero"]) -> None:
    net, plain = trained_net(), trained_net()
    norms = {"2": net.get_submodule("3"), "5": net.get_submodule("6")}
    fit(net, Lrpet(matrices(net, PLAN), norms, LrpetSettings(every=20, momentum=momentum)), epochs=3)
    recalibrate(net, list(batches().epoch(9)))
    x = torch.randn(4, 1, 8, 8)
    pairs = factors(net)
    with torch.no_grad():
        assert torch.allclose(pairs(x), net(x), rtol=1e-3, atol=1e-4 * float(net(x).abs().max()))
    assert accuracy(net) > accuracy(factors(plain)) + 0.05


def factors(net: nn.Module) -> nn.Module:
    """The network with pairs of layers at the plan's ranks."""
    layers = named_layers(net)
    return rebuild(net, PLAN, {(n, c.scheme): decompose(layers[n], c.scheme) for n, c in PLAN.factorised().items()})
