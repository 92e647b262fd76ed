"""The loop, its schedule and batches, and the distillation loss."""
from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgelr.errors import EdgelrError
from edgelr.graph import capture
from edgelr.training import Batch, Progress, Schedule, Shuffled, distillation, divergence, outputs_of, train
from edgelr.training.distill import SMALLEST_PROBABILITY


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


def test_class_scores_are_distilled_by_divergence_at_a_temperature() -> None:
    made, wanted = torch.randn(6, 5), torch.randn(6, 5)
    p, q = (torch.softmax(v.double() / 2, 1) for v in (wanted, made))
    by_hand = float((p * (p / q).log()).sum(1).mean()) * 4
    assert float(divergence(made, wanted, "scores", 2.0)) == pytest.approx(by_hand, rel=1e-5)
    assert float(divergence(wanted + 3, wanted, "scores")) == pytest.approx(0, abs=1e-6)


def test_probabilities_are_distilled_as_such_and_zeros_don_t_hurt() -> None:
    scores = torch.tensor([[4.0, 0.0, -30.0]], requires_grad=True)
    exact = torch.softmax(scores, 1)
    rounded = exact + ((exact * 256).round() / 256 - exact).detach()
    loss = divergence(rounded, exact.detach(), "probabilities")
    loss.backward()
    assert 0 <= float(loss.detach()) < 2 * SMALLEST_PROBABILITY and scores.grad is not None and bool(scores.grad.isfinite().all())


def test_other_values_are_distilled_relative_to_their_spread() -> None:
    wanted = torch.randn(4, 2, 3, 3) * 50 + 7
    noise = torch.randn(wanted.shape)
    small, large = (float(divergence(wanted * s + noise * s, wanted * s, "values")) for s in (1e-3, 1e3))
    assert small == pytest.approx(large, rel=1e-4) == pytest.approx(1 / 2500, rel=0.5)
    assert math.isfinite(float(divergence(noise, torch.ones_like(noise), "values")))


@pytest.mark.parametrize(("tail", "kind"), [
    ([nn.Flatten(), nn.Linear(16, 5)], "scores"), ([nn.Flatten(), nn.Linear(16, 1)], "values"), ([nn.Conv2d(1, 2, 1)], "values"),
    ([nn.Flatten(), nn.Linear(16, 5), nn.Softmax(1)], "probabilities"),
])  # fmt: skip
def test_a_graph_tells_what_its_outputs_are(tail: list[nn.Module], kind: str) -> None:
    assert outputs_of(capture(nn.Sequential(nn.Conv2d(1, 1, 1), *tail), (1, 4, 4))) == kind


def test_labels_add_their_cross_entropy() -> None:
    made, wanted, y = torch.randn(6, 5), torch.randn(6, 5), torch.tensor([0, 1, 2, 3, 4, 0])
    losses = {w: distillation(lambda x: made, lambda x: wanted, "scores", 1.0, w)((torch.zeros(6, 1), y)) for w in (0.0, 0.5)}
    assert float(losses[0.5] - losses[0.0]) == pytest.approx(0.5 * float(F.cross_entropy(made, y)), rel=1e-5)
    unlabelled = distillation(lambda x: made, lambda x: wanted, "scores", 1.0, 0.5)((torch.zeros(6, 1), None))
    assert torch.equal(unlabelled, losses[0.0])
