"""Where the samples are, followed through permutations and reshapes: what our graph computes is what torch does for each sample."""
from __future__ import annotations

import random
from math import prod

import pytest
import torch
from torch import Tensor, nn

from edgelr.errors import UnsupportedError
from edgelr.graph import Graph, capture, run
from edgelr.graph.batch import FIRST, SIZE, Batch, NotSupportedError
from edgelr.graph.ops import Linear, Permute


class Moves(nn.Module):
    """Permutations and reshapes of all axes, the batch's too, with a sum of constants between, and back."""

    def __init__(self, shape: tuple[int, ...], seed: int) -> None:
        super().__init__()
        self.shape, self.seed = shape, seed

    def forward(self, x: Tensor) -> Tensor:
        chance, steps, b = random.Random(self.seed), [], x.shape[0]
        y = x * 1.0
        for _ in range(4):
            if chance.random() < 0.6:
                order = list(range(y.dim()))
                chance.shuffle(order)
                steps.append(("permute", order))
                y = y.permute(order)
            else:
                at = chance.randrange(max(1, y.dim() - 1))
                steps.append(("reshape", list(y.shape)))
                y = y.flatten(at, min(at + 1, y.dim() - 1))
            y = y + 0.5
        for kind, value in reversed(steps):
            y = y.permute([value.index(a) for a in range(len(value))]) if kind == "permute" else y.reshape(value)
        return y.reshape(b, *self.shape)


@pytest.mark.parametrize("seed", range(30))
def test_samples_stay_themselves_wherever_the_batch_is(seed: int) -> None:
    shape = tuple(random.Random(seed).choice([1, 2, 3, 4]) for _ in range(3))
    model = Moves(shape, seed).eval()
    graph = capture(model, shape)
    for n in (1, 2, 5):
        x = torch.randn(n, *shape)
        torch.testing.assert_close(run(graph, x), model(x))


def test_a_merged_axis_is_found_again() -> None:
    batch = FIRST.reshaped((SIZE, 3, 4), (SIZE * 3, 4))
    assert batch == Batch(0, 1, merged=True) and batch.without((6, 4)) == (3, 4)
    time_first = FIRST.permuted([1, 0, 2])
    assert time_first == Batch(1) and time_first.reshaped((3, SIZE, 4), (3 * SIZE, 4)) == Batch(0, 3, merged=True)
    with pytest.raises(NotSupportedError, match="mixes samples"):
        FIRST.reshaped((SIZE, 3), (3, SIZE))
    with pytest.raises(NotSupportedError, match="batch"):
        FIRST.ours(0, 3)


def test_a_constant_may_not_differ_by_sample() -> None:
    same = torch.arange(6.0).expand(SIZE, 3, 6)
    assert torch.equal(FIRST.constant(same, 3), same[0])
    merged = Batch(0, 1, merged=True)
    assert torch.equal(merged.constant(torch.arange(3.0).repeat(SIZE)[:, None], 2), torch.arange(3.0)[:, None])
    with pytest.raises(NotSupportedError, match="differs by sample"):
        FIRST.constant(torch.rand(SIZE, 3, 6), 3)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.attn(x, x, x, need_weights=False)[0]
        return result


def names(graph: Graph, kind: type) -> list[str]:
    return [n.name for n in graph.nodes if isinstance(n.op, kind)]


def test_an_attention_s_projections_bear_their_weights_names() -> None:
    assert names(capture(Attention(), (5, 8)), Linear) == ["attn.in_proj", "attn.out_proj"]


def test_heads_are_parted_before_they_are_turned_so_that_each_is_moved_once() -> None:
    assert len(names(capture(Attention(), (5, 8)), Permute)) == 4  # queries, keys, values, and the result


def test_the_fast_path_of_transformer_layers_is_off_for_the_capture_only() -> None:
    assert torch.backends.mha.get_fastpath_enabled()
    capture(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (5, 8))
    assert torch.backends.mha.get_fastpath_enabled()
    with pytest.raises(UnsupportedError):
        capture(nn.Sequential(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), nn.Softplus()), (5, 8))
    assert torch.backends.mha.get_fastpath_enabled()


TIMM: dict[str, tuple[dict[str, int], tuple[int, ...]]] = {
    "vit_tiny_patch16_224": ({"img_size": 32, "patch_size": 8, "depth": 2, "num_classes": 5}, (3, 32, 32)),
    "mobilevit_xxs": ({"num_classes": 5}, (3, 64, 64)),
    "mobilevitv2_050": ({"num_classes": 5}, (3, 64, 64)),
    "convnext_atto": ({"num_classes": 5}, (3, 64, 64)),
}


@pytest.mark.parametrize("name", TIMM)
def test_timm_s_networks_are_captured(name: str) -> None:
    timm = pytest.importorskip("timm", exc_type=ImportError)
    settings, shape = TIMM[name]
    model = timm.create_model(name, pretrained=False, **settings).eval()
    x = torch.randn(3, *shape)
    with torch.no_grad():
        want = model(x)
        torch.testing.assert_close(run(capture(model, shape), x), want, rtol=1e-4, atol=1e-4 * float(want.abs().max()))


def test_the_moves_above_do_move_the_batch() -> None:
    """Else the test of them would show nothing."""
    moved = 0
    for seed in range(30):
        shape = tuple(random.Random(seed).choice([1, 2, 3, 4]) for _ in range(3))
        program = torch.export.export(Moves(shape, seed).eval(), (torch.zeros(SIZE, *shape),))
        moved += any("permute" in str(n.target) and n.args[1][0] != 0 for n in program.graph.nodes if prod(shape) > 1)
    assert moved > 10
