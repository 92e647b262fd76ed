"""The survey: each parameter once, closed-form MACs, and a reason for every layer that can't be factorised."""
from __future__ import annotations

import itertools
import random
import sys

import pytest
import torch
from torch import Tensor, nn

from edgelr.errors import BadInputError
from edgelr.models import survey
from edgelr.vocabulary import Layer


def by_name(model: nn.Module, *shape: int) -> dict[str, Layer]:
    return {layer.name: layer for layer in survey(model.eval(), torch.zeros(1, *shape))}


def params(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def looped_macs(length: int, out: int, c_in: int, c_out: int, k: int, groups: int) -> int:
    """Counted one by one, as the definition of a convolution says."""
    return sum(1 for _ in itertools.product(range(out), range(c_out), range(c_in // groups), range(k)))


def test_macs_of_convolutions_equal_a_brute_force_count() -> None:
    draw = random.Random(7)
    for _ in range(200):
        groups, k = draw.choice([1, 2, 4]), draw.randint(1, 4)
        c_in, c_out = groups * draw.randint(1, 3), groups * draw.randint(1, 3)
        stride, dilation, length = draw.randint(1, 5), draw.randint(1, 3), draw.randint(13, 20)
        conv = nn.Conv1d(c_in, c_out, k, stride, draw.randint(0, 2), dilation, groups, bias=draw.random() < 0.5)
        out = conv(torch.zeros(1, c_in, length)).shape[-1]
        (layer,) = survey(conv, torch.zeros(3, c_in, length))
        assert layer.macs == looped_macs(length, out, c_in, c_out, k, groups)
        assert (layer.in_shape, layer.out_shape) == ((c_in, length), (c_out, out))


@pytest.mark.parametrize(("module", "shape", "macs"), [
    (nn.Conv2d(4, 6, (3, 5), (2, 1), 1, groups=2), (4, 8, 8), 6 * 4 * 6 * 2 * 15),
    (nn.ConvTranspose2d(4, 6, 3, 2, groups=2), (4, 5, 5), 4 * 25 * 3 * 9),
    (nn.Linear(7, 3), (5, 2, 7), 5 * 2 * 7 * 3),
    (nn.BatchNorm2d(3), (3, 4, 4), 48),
    (nn.LayerNorm(6), (5, 6), 60),
    (nn.GroupNorm(2, 4), (4, 3, 3), 72),
])
def test_macs_of_one_sample_don_t_depend_on_the_batch(module: nn.Module, shape: tuple[int, ...], macs: int) -> None:
    for batch in (1, 4):
        (layer,) = survey(module, torch.zeros(batch, *shape))
        assert layer.macs == macs
        assert layer.in_shape == shape


class Windows(nn.Module):
    """Folds windows into the batch, as window attention does."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.mix(x.reshape(-1, 3, 4))


def test_work_folded_into_the_batch_axis_is_counted_whole() -> None:
    (layer,) = survey(Windows(), torch.zeros(2, 6, 3, 4))
    assert layer.macs == 6 * 3 * 4 * 5


class Mystery(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gain


class Holder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.ones(4))
        self.fc = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x + self.token)


class OwnForward(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + super().forward(x)


def test_an_unknown_layer_is_named_and_never_counted_as_nothing() -> None:
    layer = by_name(Mystery(), 3)[""]
    assert (layer.kind, layer.macs, layer.params, layer.schemes) == ("Mystery", None, 3, ())
    assert layer.reason
    assert by_name(OwnForward(2, 2, 1), 2, 3, 3)[""].macs is None


def test_parameters_held_by_a_module_with_others_inside_are_named() -> None:
    layers = by_name(Holder(), 4)
    assert layers[""].params == 4 and "held directly" in layers[""].reason
    assert layers["fc"].schemes == ("linear",)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(8, 8), nn.Linear(8, 8, bias=False)
        self.down.weight = self.up.weight
        self.twice = nn.Linear(8, 8)
        self.dead = nn.Conv2d(3, 9, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.twice(self.twice(self.down(self.up(x))))


def test_shared_reused_and_dead_layers_are_kept_with_the_reason_and_counted_once() -> None:
    model = Tied()
    layers = survey(model, torch.zeros(1, 8))
    named = {layer.name: layer for layer in layers}
    assert [layer.name for layer in layers] == ["up", "down", "twice", "dead"]
    assert "down" in named["up"].reason and "up" in named["down"].reason
    assert "2 times" in named["twice"].reason and named["twice"].macs == 128
    assert "never" in named["dead"].reason and named["dead"].macs == 0
    assert not any(layer.schemes for layer in layers)
    assert sum(layer.params for layer in layers) == params(model)


@pytest.mark.parametrize("norm", [nn.utils.parametrizations.weight_norm, nn.utils.parametrizations.spectral_norm])
def test_a_parametrised_layer_is_one_layer_kept_with_the_reason(norm: object) -> None:
    model = nn.Sequential(norm(nn.Linear(8, 8)), nn.ReLU())  # type: ignore[operator]
    (layer,) = survey(model, torch.zeros(1, 8))
    assert (layer.name, layer.weight_shape, layer.macs, layer.schemes) == ("0", (8, 8), 64, ())
    assert "parametrization" in layer.reason and layer.params == params(model)


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
def test_weight_norm_of_the_old_kind_is_told_too() -> None:
    (layer,) = survey(nn.utils.weight_norm(nn.Linear(8, 8)), torch.zeros(1, 8))  # type: ignore[no-untyped-call]
    assert "parametrization" in layer.reason and not layer.schemes


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attend = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.attend(x, x, x, need_weights=False)[0]  # type: ignore[no-any-return]


def test_weights_read_without_a_call_are_not_taken_for_dead() -> None:
    model = Attention()
    layers = by_name(model, 5, 8)
    assert layers["attend.out_proj"].macs is None and "another module" in layers["attend.out_proj"].reason
    assert layers["attend"].macs is None
    assert sum(layer.params for layer in layers.values()) == params(model)


def test_the_layers_of_resnet20_are_in_execution_order_with_the_known_totals(shared: object) -> None:
    sys.path.insert(0, f"{shared}/models")
    try:
        from resnet_cifar import resnet20  # type: ignore[import-not-found]
    finally:
        sys.path.pop(0)
    model = resnet20()
    layers = survey(model, torch.zeros(1, 3, 32, 32))
    assert sum(layer.params for layer in layers) == params(model) == 272_474
    # 3x3 and fc as in He et al. (40.55 M), and two 1x1 shortcuts of 32*16*16*16 and 64*32*8*8 MACs
    assert sum(layer.macs or 0 for layer in layers if layer.kind != "batchnorm") == 40_551_040 + 131_072 * 2
    assert [layer.name for layer in layers[:4]] == ["conv1", "bn1", "blocks.0.conv1", "blocks.0.bn1"]
    assert layers[2].schemes == ("channel", "spatial") and layers[0].bytes == 4 * 432


def test_the_network_is_left_in_the_modes_that_it_had_and_without_hooks() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    model.train()
    model[1].eval()
    survey(model, torch.zeros(2, 4))
    assert model.training and model[0].training and not model[1].training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_a_wrong_input_shape_names_the_module_that_failed() -> None:
    with pytest.raises(BadInputError, match="1x5") as told:
        survey(nn.Sequential(nn.ReLU(), nn.Linear(4, 4)), torch.zeros(1, 5))
    assert "in 1:" in told.value.why


class Tagger(nn.Module):
    def __init__(self, seq: nn.Module, calls: int = 1) -> None:
        super().__init__()
        self.seq, self.calls = seq, calls

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.calls):
            x = self.seq(x)[0]
        return x


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_a_recurrent_module_is_told_matrix_by_matrix_and_every_parameter_once(kind: type[nn.LSTM]) -> None:
    gates = 4 if kind is nn.LSTM else 3
    for batch_first, shape in ((True, (5, 9, 6)), (False, (9, 5, 6))):
        model = Tagger(kind(6, 8, 2, batch_first=batch_first, bidirectional=True))
        layers = {layer.name: layer for layer in survey(model, torch.zeros(*shape))}
        assert list(layers) == [f"seq.weight_{part}_l{n}{way}" for n in (0, 1) for way in ("", "_reverse") for part in ("ih", "hh")]
        assert sum(layer.params for layer in layers.values()) == params(model)
        assert sum(layer.bytes for layer in layers.values()) == 4 * params(model)
        inner = layers["seq.weight_ih_l1"]
        assert (inner.kind, inner.weight_shape, inner.groups, inner.bias) == ("recurrent", (gates * 8, 16), gates, True)
        assert inner.schemes == ("recurrent", "gates")
        if batch_first:  # the survey's inputs have the batch first
            assert (inner.in_shape, inner.out_shape, inner.macs) == ((9, 16), (9, gates * 8), 9 * gates * 8 * 16)


class Swapped(nn.Module):
    """Sequences are given batch first, and taken by a module that wants steps first."""

    def __init__(self) -> None:
        super().__init__()
        self.seq = nn.GRU(6, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.seq(x.transpose(0, 1))[0][-1]


def test_steps_are_counted_wherever_their_axis_is() -> None:
    for batch in (1, 5):
        layers = {layer.name: layer for layer in survey(Swapped(), torch.zeros(batch, 9, 6))}
        assert layers["seq.weight_hh_l0"].macs == 9 * 24 * 8
        assert layers["seq.weight_hh_l0"].in_shape == (9, 8)


def test_a_projection_is_counted_and_left_alone() -> None:
    layers = by_name(Tagger(nn.LSTM(6, 8, batch_first=True, proj_size=5)), 9, 6)
    projection = layers["seq.weight_hr_l0"]
    assert (projection.weight_shape, projection.macs, projection.schemes) == ((5, 8), 9 * 5 * 8, ())
    assert "low-rank" in projection.reason
    assert layers["seq.weight_hh_l0"].weight_shape == (32, 5)


def test_recurrent_modules_that_cant_be_factorised_say_why() -> None:
    twice = by_name(Tagger(nn.LSTM(8, 8, batch_first=True), 2), 9, 8)["seq.weight_hh_l0"]
    assert twice.schemes == () and "2 times" in twice.reason
    assert twice.macs == 2 * 9 * 32 * 8
    narrow = by_name(Tagger(nn.LSTM(1, 8, batch_first=True)), 9, 1)
    assert narrow["seq.weight_ih_l0"].schemes == () and "32 x 1" in narrow["seq.weight_ih_l0"].reason
    assert by_name(Tagger(nn.RNN(6, 8, batch_first=True)), 9, 6)["seq"].macs is None
    tied = nn.LSTM(8, 8, batch_first=True)
    other = nn.LSTM(8, 8, batch_first=True)
    other.weight_hh_l0 = tied.weight_hh_l0
    layers = by_name(nn.Sequential(Tagger(tied), Tagger(other)), 9, 8)
    assert all("shares its weight" in layers[f"{n}.seq.weight_hh_l0"].reason for n in (0, 1))
    assert sum(layer.params for layer in layers.values()) == params(nn.ModuleList([tied, other]))
