"""The loop and its batches: what is done in a step, in which order, and what is told."""
from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from edgelr.errors import EdgelrError
from edgelr.training import Batch, Progress, Schedule, Shuffled, train
from edgelr.training.progress import Teller


def numbered(n: int, size: int, seed: int = 0) -> Shuffled:
    return Shuffled(np.arange(n, dtype=np.float32)[:, None], np.arange(n), size, seed)


def test_an_epoch_has_each_sample_once_with_its_label_in_a_new_order() -> None:
    batches = numbered(12, 4)
    first, again, second = (list(batches.epoch(e)) for e in (0, 0, 1))
    assert len(batches) == 3
    for x, y in first:
        assert y is not None and torch.equal(x[:, 0].long(), y)
    order = [torch.cat([x for x, _ in epoch]).flatten().tolist() for epoch in (first, again, second)]
    assert sorted(order[0]) == list(range(12)) and order[0] == order[1] != order[2]
    assert torch.cat([x for x, _ in numbered(12, 4, seed=1).epoch(0)]).flatten().tolist() != order[0]


def test_what_fills_no_batch_is_left_out_unless_it_is_all() -> None:
    assert [len(x) for x, _ in numbered(11, 4).epoch(0)] == [4, 4] and len(numbered(11, 4)) == 2
    assert [len(x) for x, _ in numbered(3, 4).epoch(0)] == [3] and len(numbered(3, 4)) == 1


def test_augmentation_is_drawn_anew_each_epoch_and_is_the_same_for_the_same_seed() -> None:
    def noisy(x: Tensor, generator: torch.Generator) -> Tensor:
        return x + torch.rand(x.shape, generator=generator)

    batches = Shuffled(np.zeros((4, 1), np.float32), None, 4, 0, noisy)
    draws = [next(batches.epoch(e))[0] for e in (0, 0, 1)]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])


def rates(schedule: Schedule, steps: int) -> list[float]:
    """The learning rate of each step, seen from how far a weight with the constant gradient 1 moves under SGD without momentum."""
    weight, seen = torch.zeros((), requires_grad=True), [0.0]
    train([(1.0, [weight])], lambda batch: -weight, numbered(steps // schedule.epochs, 1), schedule,
          after_step=lambda: seen.append(float(weight.detach())))
    return list(np.diff(seen))


def test_the_rate_rises_then_falls_to_nothing_as_a_cosine() -> None:
    found = rates(Schedule(2, "sgd", warmup=0.1, momentum=0.0), 40)
    assert found[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert all(a > b for a, b in pairwise(found[3:]))
    assert found[21] == pytest.approx(0.5 * (1 + math.cos(math.pi * 18.5 / 37)), abs=0.03) and 0 < found[-1] < 0.01


def test_a_gradient_far_above_the_usual_is_cut() -> None:
    sizes = iter([1.0] * 50 + [1000.0] + [1.0] * 9)
    weight, seen = torch.zeros((), requires_grad=True), [0.0]
    train([(1.0, [weight])], lambda batch: -weight * next(sizes), numbered(60, 1), Schedule(1, "sgd", 0.0, momentum=0.0),
          after_step=lambda: seen.append(float(weight.detach())))
    moved = np.diff(seen)
    assert 3 < moved[50] / moved[49] < 5


def test_adamw_moves_each_weight_by_the_rate_whatever_the_gradient_s_size() -> None:
    weights = [torch.zeros((), requires_grad=True) for _ in range(2)]
    train([(0.5, weights)], lambda batch: -weights[0] * 1e-12 - weights[1] * 1e6, numbered(1, 1), Schedule(1))
    assert [float(w.detach()) for w in weights] == pytest.approx([0.5, 0.5], rel=1e-3)


def test_words_come_with_the_mean_loss_and_the_time_left() -> None:
    heard: list[Progress] = []
    weight = torch.zeros((), requires_grad=True)

    def loss(batch: Batch) -> Tensor:
        return batch[0].mean() + 0 * weight

    train([(1.0, [weight])], loss, numbered(8, 2), Schedule(2), heard.append)
    assert [(p.epoch, p.step, p.steps) for p in heard] == [(1, 4, 8), (2, 8, 8)]
    assert [p.loss for p in heard] == pytest.approx([3.5, 3.5])
    assert heard[0].seconds_left == pytest.approx(heard[0].seconds)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_an_error_that_names_the_step(bad: float) -> None:
    weight = torch.zeros((), requires_grad=True)
    losses = iter([0.0, bad])
    with pytest.raises(EdgelrError, match=r"diverged(.|\n)*step 2 of 4"):
        train([(1.0, [weight])], lambda batch: weight * next(losses), numbered(4, 1), Schedule(1))


class Counting:
    """A method that pulls a weight by a constant force, and notes when it was called."""

    def __init__(self, weight: Tensor) -> None:
        self.weight, self.calls = weight, list[str]()

    def start(self, steps: int, optimizer: torch.optim.Optimizer) -> None:
        self.calls.append(f"start {steps} {type(optimizer).__name__}")

    def penalty(self) -> Tensor:
        self.calls.append("penalty")
        return 3 * self.weight

    def after_step(self, step: int) -> None:
        self.calls.append(f"after {step} {float(self.weight.detach()):g}")

    def finish(self) -> None:
        self.calls.append("finish")

    def state(self) -> Mapping[str, Tensor]:
        return {}

    def load(self, state: Mapping[str, Tensor]) -> None:
        raise AssertionError


def test_a_method_s_penalty_moves_weights_and_is_told_apart_from_the_loss() -> None:
    weight, heard = torch.zeros((), requires_grad=True), list[Progress]()
    method = Counting(weight)
    train([(1.0, [weight])], lambda batch: weight + 7, numbered(2, 1), Schedule(1, "sgd", 0.0, momentum=0.0, shape="constant"),
          heard.append, lambda: method.calls.append("caller's"), method=method)
    assert method.calls == ["start 2 SGD", "penalty", "caller's", "after 1 -4", "penalty", "caller's", "after 2 -8", "finish"]
    assert (heard[0].loss, heard[0].penalty) == (5.0, -6.0) and "loss 5 + -6" in str(heard[0])


def told(times: list[tuple[float, int]], monkeypatch: pytest.MonkeyPatch, steps: int = 10_000, begun_at: int = 0) -> list[Progress]:
    """What is told where steps are done at these times."""
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    heard: list[Progress] = []
    teller = Teller(heard.append, 2, steps // 2, begun_at)
    for seconds, step in times:
        now[0] = seconds
        teller.hear(step, 1.0)
    return heard


def test_words_come_every_ten_seconds_and_at_the_end_of_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = told([(k / 2, k) for k in range(1, 101)], monkeypatch, steps=100)
    assert [p.step for p in heard] == [21, 42, 50, 71, 92, 100]
    assert [p.seconds_left for p in heard] == pytest.approx([39.5, 29, 25, 14.5, 4, 0])


def test_the_time_left_forgets_a_slow_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = [(10.0 * k, k) for k in range(1, 11)]
    fast = [(100 + 0.1 * k, 10 + k) for k in range(1, 3001)]
    last = told(slow + fast, monkeypatch)[-1]
    assert last.seconds_left == pytest.approx(0.1 * (10_000 - last.step), rel=0.05)


def test_the_time_left_of_a_resumed_training_is_by_the_steps_of_this_run(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = told([(k, 4000 + k) for k in range(1, 101)], monkeypatch, begun_at=4000)
    assert heard[-1].seconds_left == pytest.approx(10_000 - heard[-1].step)
    assert "h left" not in str(heard[-1]) and "min left" in str(heard[-1])
