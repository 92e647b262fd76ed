"""The weights' rate is found by trying, on training batches of which some are held back."""
from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from edgelr.training import Batch, Schedule
from edgelr.training.rates import LOWEST_RATE, RATES, Trial, probed_rate


class Numbered:
    """Batches that hold their own number, the same in every epoch, and what was drawn of them."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def epoch(self, number: int) -> Iterator[Batch]:
        for i in range(self.count):
            yield torch.full((1,), float(i)), None


def away(distance: float, seen: list[tuple[bool, int]] | None = None, rates: list[float] | None = None) -> object:
    """Trials of a number that is ``distance`` from where the loss is least: Adam moves it by about the rate in a step."""

    def start(rate: float) -> Trial:
        p = torch.zeros((), requires_grad=True)
        if rates is not None:
            rates.append(rate)

        def loss(batch: Batch) -> Tensor:
            if seen is not None:
                seen.append((torch.is_grad_enabled(), int(batch[0])))
            return (p - distance).square()

        return loss, [(rate, [p])], lambda: None

    return start


@pytest.mark.parametrize(("distance", "wanted"), [(0.0, LOWEST_RATE), (0.7, 0.1), (2.4, 0.3), (50.0, 1.0)])
def test_a_network_that_is_far_takes_large_steps_and_one_that_is_there_the_smallest(distance: float, wanted: float) -> None:
    assert probed_rate(away(distance), Numbered(40), Schedule(10)) == wanted  # type: ignore[arg-type]


def test_rates_rise_only_while_it_helps() -> None:
    tried: list[float] = []
    probed_rate(away(0.0, rates=tried), Numbered(40), Schedule(10))  # type: ignore[arg-type]
    assert tried == [LOWEST_RATE, RATES[0]]


def test_trials_are_judged_on_batches_that_they_were_not_trained_on() -> None:
    seen: list[tuple[bool, int]] = []
    probed_rate(away(50.0, seen), Numbered(40), Schedule(10))  # type: ignore[arg-type]
    trained_on, judged_on = ({i for grad, i in seen if grad is which} for which in (True, False))
    assert len(trained_on) == 16 and judged_on and not trained_on & judged_on


def test_trials_take_a_tenth_of_the_training_each_at_most() -> None:
    seen: list[tuple[bool, int]] = []
    probed_rate(away(50.0, seen), Numbered(10), Schedule(6))  # type: ignore[arg-type]
    assert sum(grad for grad, _ in seen) <= 3 * 6


def test_where_there_is_too_little_to_try_on_the_rate_is_a_cautious_one() -> None:
    assert probed_rate(away(50.0), Numbered(3), Schedule(5)) == RATES[0]  # type: ignore[arg-type]


def test_a_trial_that_diverges_ends_the_search() -> None:
    def start(rate: float) -> Trial:
        p = torch.zeros((), requires_grad=True)

        def loss(batch: Batch) -> Tensor:
            return (p - 50) ** 2 if rate < 0.2 else p * float("nan")

        return loss, [(rate, [p])], lambda: None

    assert probed_rate(start, Numbered(40), Schedule(10)) == 0.1
