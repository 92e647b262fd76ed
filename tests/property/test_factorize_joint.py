"""Joint decomposition keeps what arXiv 2107.04386 claims of it: optima, limits, ties, and the paper's counts."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from edgelr.errors import BadInputError, UsageError
from edgelr.factorize import collect_moments, decompose, decompose_group, joint_params, joint_rank, joint_rate, plain_rank, rebuild
from edgelr.factorize.joint_basis import both
from edgelr.factorize.matrices import matrix_view
from edgelr.vocabulary import Choice, Plan, Share

SIDES = ("left", "right")


def layers(count: int, *, width: int = 6, stride: int = 1, seed: int = 0, spread: float = 1.0) -> dict[str, nn.Conv2d]:
    """Convolutions of one shape; the norms of their weights differ by ``spread`` from one to the next."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = {f"b.{i}": nn.Conv2d(width, width, 3, stride, padding=1) for i in range(count)}
        with torch.no_grad():
            for i, layer in enumerate(made.values()):
                layer.weight.mul_(spread**i)
    return made


def normed(group: dict[str, nn.Conv2d], scheme: str = "spatial") -> list[Tensor]:
    found = [matrix_view(layer.weight, scheme, 1) for layer in group.values()]  # type: ignore[arg-type]
    return [m / m.norm() for m in found]


@pytest.mark.parametrize("scheme", ["spatial", "channel"])
@pytest.mark.parametrize("side", SIDES)
def test_one_sided_errors_add_up_to_the_tail_of_the_balanced_stack(side: str, scheme: str) -> None:
    group = layers(3, spread=5.0)
    joint = decompose_group(group, scheme, side)  # type: ignore[arg-type]
    stack = torch.cat(normed(group, scheme), dim=1 if side == "left" else 2)[0]
    tail = torch.linalg.svdvals(stack).square()
    for rank in (1, 3, joint.max_rank):
        total = sum(joint.error(name, rank) for name in group)
        assert total == pytest.approx(float(tail[rank:].sum()), abs=1e-6)
        assert [float(joint.errors(name)[rank]) for name in group] == pytest.approx([joint.error(name, rank) for name in group], abs=1e-6)


@pytest.mark.parametrize("side", SIDES)
def test_of_one_layer_it_is_the_plain_decomposition(side: str) -> None:
    group = layers(1)
    joint, plain = decompose_group(group, "spatial", side), decompose(group["b.0"], "spatial")  # type: ignore[arg-type]
    torch.testing.assert_close(joint.errors("b.0"), plain.errors(), atol=1e-7, rtol=0)
    torch.testing.assert_close(joint.product("b.0", 4)[0], plain.product(4)[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("side", SIDES)
def test_identical_layers_lose_nothing_by_sharing(side: str) -> None:
    first = layers(1)["b.0"]
    group = {"a": first, "b": nn.Conv2d(6, 6, 3, padding=1)}
    group["b"].load_state_dict(first.state_dict())
    joint = decompose_group(group, "spatial", side)  # type: ignore[arg-type]
    torch.testing.assert_close(joint.errors("b"), decompose(first, "spatial").errors(), atol=1e-7, rtol=0)
    assert joint_params(4, [18, 18], 18) / (2 * joint_params(4, [18], 18)) == pytest.approx(3 / 4)  # (n + 1) / 2n of two alone


def test_the_left_of_weights_is_the_right_of_their_transposes() -> None:
    first, turned = ({f"l{i}": nn.Linear(7, 7) for i in range(3)} for _ in range(2))
    for name, layer in first.items():
        turned[name].weight.data.copy_(layer.weight.T)
    left, right = decompose_group(first, "linear", "left"), decompose_group(turned, "linear", "right")
    for name in first:
        torch.testing.assert_close(left.product(name, 3)[0], right.product(name, 3)[0].T, atol=1e-5, rtol=1e-4)


def test_no_half_step_of_the_two_sided_alternation_raises_the_objective_and_it_beats_its_start() -> None:
    matrices = normed(layers(4))
    _, _, objective = both(matrices, [1.0] * 4, 3, 4, 30)
    assert all(after <= before + 1e-9 for before, after in pairwise(objective))
    assert objective[-1] < objective[0]
    joint = decompose_group(layers(4), "spatial", "both")
    assert sum(joint.error(f"b.{i}", 7, 3) for i in range(4)) <= objective[-1] + 1e-6


def test_a_layer_counts_by_its_own_energy_whatever_its_norm() -> None:
    plain, uneven = decompose_group(layers(3), "spatial", "left"), decompose_group(layers(3, spread=100.0), "spatial", "left")
    for name in ("b.0", "b.1", "b.2"):
        assert plain.error(name, 4) == pytest.approx(uneven.error(name, 4), abs=1e-6)


@pytest.mark.parametrize("side", SIDES)
def test_knowing_the_inputs_lowers_the_outputs_error(side: str) -> None:
    group = layers(3)
    net = nn.Sequential(*group.values())
    with torch.random.fork_rng():
        torch.manual_seed(1)
        x = torch.randn(32, 6, 8, 8) * torch.tensor([3.0, 2, 1, 0.3, 0.1, 0.03])[:, None, None]
    moments = {f"b.{i}": m for i, m in enumerate(collect_moments(net, ["0", "1", "2"], [x]).values())}
    aware, blind = decompose_group(group, "channel", side, moments=moments), decompose_group(group, "channel", side)  # type: ignore[arg-type]
    blind.moments = moments  # errors by the same measure
    assert sum(aware.error(n, 3) for n in group) < 0.98 * sum(blind.error(n, 3) for n in group)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("scheme", ["spatial", "channel"])
@pytest.mark.parametrize("side", ["left", "right", "both"])
def test_the_tied_network_computes_the_products_and_its_common_weight_is_one_parameter(side: str, scheme: str, stride: int) -> None:
    group = layers(3, stride=stride)
    net = nn.Sequential(*group.values()).eval()
    named = {str(i): layer for i, layer in enumerate(group.values())}
    choice = Choice(scheme, 4, Share("g", side, 2 if side == "both" else 0))  # type: ignore[arg-type]
    joint = decompose_group(named, scheme, side)  # type: ignore[arg-type]
    tied = rebuild(net, Plan(dict.fromkeys(named, choice)), {}, {("g", scheme, side): joint})  # type: ignore[dict-item]
    x = torch.linspace(-1, 1, 2 * 6 * 16 * 16).reshape(2, 6, 16, 16)
    expected = x
    for name in named:
        weight, bias = joint.product(name, 4, 2)
        expected = nn.functional.conv2d(expected, weight, bias, stride, 1)
    torch.testing.assert_close(tied(x), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(joint.weights("0", 4, 2)[2], joint.product("0", 4, 2)[1])
    names = [n for n, _ in tied.named_parameters(remove_duplicate=False)]
    once = [n for n, _ in tied.named_parameters()]
    assert len(names) - len(once) == 2 * (2 if side == "both" else 1)  # two of three members hold what the first does
    tied(x).square().sum().backward()
    common = (tied[0][0] if side == "both" else tied[0])[1 if side == "right" else 0].weight
    parts = []
    for i in range(3):  # untie one member after the other: the common gradient is their sum
        alone = rebuild(net, Plan(dict.fromkeys(named, choice)), {}, {("g", scheme, side): joint})  # type: ignore[dict-item]
        own = (alone[i][0] if side == "both" else alone[i])[1 if side == "right" else 0]
        own.weight = nn.Parameter(own.weight.detach().clone())
        alone(x).square().sum().backward()
        parts.append(own.weight.grad)
    torch.testing.assert_close(common.grad, sum(parts), atol=1e-4, rtol=1e-4)


def test_what_cannot_be_shared_is_refused_by_name() -> None:
    uneven = {**layers(1), "wide": nn.Conv2d(8, 6, 3, padding=1)}
    with pytest.raises(UsageError, match="different shapes"):
        decompose_group(uneven, "spatial", "left")
    group = layers(2)
    net = nn.Sequential(*group.values())
    joint = {("g", "spatial", "left"): decompose_group({"0": net[0], "1": net[1]}, "spatial", "left")}
    apart = Plan({"0": Choice("spatial", 4, Share("g", "left")), "1": Choice("spatial", 5, Share("g", "left"))})
    with pytest.raises(BadInputError, match="'0' and '1'"):
        rebuild(net, apart, {}, joint)  # type: ignore[arg-type]


def resnet(blocks: tuple[int, ...]) -> list[tuple[str, int, int, int]]:
    """The paper's CIFAR nets: name, out, in and kernel of every convolution."""
    made, before = [("stem", 64, 3, 3)], 64
    for stage, (count, width) in enumerate(zip(blocks, (64, 128, 256, 512), strict=True), 2):
        for block in range(count):
            made += [(f"{stage}.{block}.conv1", width, before, 3), (f"{stage}.{block}.conv2", width, width, 3)]
            made += [(f"{stage}.{block}.shortcut", width, before, 1)] if before != width else []
            before = width
    return made


@pytest.mark.parametrize(
    ("blocks", "rate", "ratio"),
    [((3, 4, 6, 3), 0.04, 22.07), ((3, 4, 6, 3), 0.08, 13.93), ((2, 2, 2, 2), 0.04, 17.76), ((2, 2, 2, 2), 0.08, 11.99)],
)
def test_the_paper_s_compression_factors_to_the_digit(blocks: tuple[int, ...], rate: float, ratio: float) -> None:
    dense = kept = 512 * 10
    for name, out, into, kernel in resnet(blocks):
        whole = out * into * kernel * kernel
        dense += whole
        alone = name == "stem" or name.startswith("2.") or kernel == 1
        kept += whole if alone else plain_rank(rate, out, into, kernel) * kernel * (out + into)
    assert round(dense / kept, 2) == ratio


def test_the_paper_s_group_ranks() -> None:
    conv1 = [joint_rank(0.04, n, width) for n, width in ((3, 128), (5, 256), (2, 512))]
    conv2 = [joint_rank(0.04, n, width) for n, width in ((4, 128), (6, 256), (3, 512))]
    assert (conv1, conv2) == ([7, 17, 27], [8, 17, 30])
    assert joint_rate(1.0, [4] * 5, 1) == pytest.approx(25 / 21) and joint_rate(1.0, [1] * 5, 4) == pytest.approx(25 / 9)
    assert joint_rate(1.0, [0.5, 1, 1], 1) == pytest.approx((2 * 3 - 0.5) / (3 + 0.5))
