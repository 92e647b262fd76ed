"""Which layers can be factorised, and the reason that is told where they can't."""
from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from edgelr.errors import UsageError
from edgelr.factorize import break_even_rank, choice_cost, decompose, schemes_of
from edgelr.vocabulary import Choice, Layer


class DynamicPadding(nn.Conv2d):
    """A subclass with a forward of its own, as networks ported from TensorFlow have."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(nn.functional.pad(x, (0, 1, 0, 1)))


@pytest.mark.parametrize(
    ("module", "schemes"),
    [
        (nn.Conv2d(16, 32, 3), ("channel", "spatial")),
        (nn.Conv2d(16, 32, 3, stride=2, padding="valid", padding_mode="reflect"), ("channel", "spatial")),
        (nn.Conv2d(16, 32, (1, 5)), ("channel",)),
        (nn.Conv2d(16, 32, 1), ("channel",)),
        (nn.Conv2d(3, 16, 3), ("channel", "spatial")),
        (nn.Conv2d(1, 16, 3), ("channel", "spatial")),
        (nn.Conv2d(16, 1, 3), ("spatial",)),
        (nn.Conv2d(16, 32, 3, groups=4), ("channel", "spatial")),
        (nn.Conv1d(16, 32, 3), ("channel",)),
        (nn.Linear(16, 32), ("linear",)),
    ],
)
def test_plain_layers_take_the_schemes_that_can_pay(module: nn.Module, schemes: tuple[str, ...]) -> None:
    assert schemes_of(module) == (schemes, "")


@pytest.mark.parametrize(
    ("module", "told"),
    [
        (nn.Conv2d(16, 16, 3, groups=16), "depthwise"),
        (nn.Conv1d(16, 16, 5, groups=16), "depthwise"),
        (nn.Linear(64, 1), "1 x 64"),
        (nn.Conv2d(1, 16, 1), "16 x 1"),
        (nn.Linear(2, 2), "2 x 2"),
        (nn.Conv2d(8, 8, 1, groups=4), "of each group is 2 x 2"),
        (nn.BatchNorm2d(4), "BatchNorm2d"),
        (nn.ConvTranspose2d(4, 4, 3), "ConvTranspose2d"),
        (DynamicPadding(4, 4, 3), "a variant of Conv2d"),
        (nn.MultiheadAttention(8, 2).out_proj, "a variant of Linear"),
        (parametrizations.weight_norm(nn.Linear(4, 4)), "a variant of Linear"),
        (nn.LazyLinear(4), "a variant of Linear"),
        (nn.Linear(4, 4, dtype=torch.complex64), "complex64"),
    ],
)
def test_other_layers_say_why_not(module: nn.Module, told: str) -> None:
    schemes, reason = schemes_of(module)
    assert schemes == ()
    assert told in reason
    with pytest.raises(UsageError, match="can't be factorised"):
        decompose(module, "channel")


def test_break_even_of_a_square_3x3_convolution_is_that_of_the_paper() -> None:
    """Sides C x 9C and 3C x 3C: strictly below 0.9 C and 1.5 C."""
    layer = Layer("conv", "conv2d", (64, 64, 3, 3), (64, 8, 8), (64, 8, 8), 0, None, 0, stride=(1, 1))
    assert break_even_rank(layer, "channel", "params") == 57
    assert break_even_rank(layer, "spatial", "params") == 95
    assert break_even_rank(layer, "spatial", "macs") == 95


def test_the_first_half_of_a_strided_spatial_pair_pays_for_the_inputs_width() -> None:
    layer = Layer("conv", "conv2d", (64, 64, 3, 3), (64, 8, 8), (64, 4, 4), 0, None, 0, stride=(2, 2))
    assert choice_cost(layer, Choice("spatial", 10)) == (2 * 10 * 64 * 3, 10 * 64 * 3 * 4 * 8 + 10 * 64 * 3 * 4 * 4)
    assert break_even_rank(layer, "spatial", "macs") == 63


def test_a_choice_that_the_layers_shape_forbids_is_named() -> None:
    layer = Layer("head", "linear", (10, 64), (64,), (10,), 0, None, 0)
    with pytest.raises(UsageError, match="head"):
        choice_cost(layer, Choice("channel", 2))
    with pytest.raises(UsageError, match="head"):
        choice_cost(layer, Choice("linear", 11))
