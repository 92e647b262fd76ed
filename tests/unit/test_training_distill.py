"""The losses that a network is trained by: its teacher's outputs, labels, or both."""
from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgelr.errors import UsageError
from edgelr.graph import capture
from edgelr.training import Outputs, distillation, divergence, outputs_of, supervised
from edgelr.training.distill import SMALLEST_PROBABILITY


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


LABELS = torch.tensor([0, 1, 2, 3, 4, 0])


def scored(y: Tensor | None, teacher: bool = True, outputs: Outputs = "scores", **settings: float) -> tuple[Tensor, Tensor, Tensor]:
    """Outputs, the teacher's, and the loss."""
    made, wanted = torch.randn(6, 5), torch.randn(6, 5)
    loss = supervised(lambda x: made, (lambda x: wanted) if teacher else None, outputs, **settings)
    return made, wanted, loss((torch.zeros(6, 1), y))


def test_labels_and_teacher_add_up_by_their_weight() -> None:
    made, wanted, loss = scored(LABELS, weight=0.3, temperature=2.0, smoothing=0.1)
    by_labels = F.cross_entropy(made, LABELS, label_smoothing=0.1)
    assert float(loss) == pytest.approx(float(by_labels + 0.3 * divergence(made, wanted, "scores", 2.0)), rel=1e-5)


def test_without_labels_or_classes_it_is_the_teacher_alone() -> None:
    for y, outputs in ((None, "scores"), (LABELS, "values"), (None, "values")):
        made, wanted, loss = scored(y, outputs=outputs, weight=0.3)  # type: ignore[arg-type]
        assert torch.equal(loss, divergence(made, wanted, outputs))  # type: ignore[arg-type]


def test_without_a_teacher_it_is_the_labels_alone_and_without_both_an_error() -> None:
    made, _, loss = scored(LABELS, teacher=False)
    assert float(loss) == pytest.approx(float(F.cross_entropy(made, LABELS)), rel=1e-5)
    for y, outputs in ((None, "scores"), (LABELS, "values")):
        with pytest.raises(UsageError, match="nothing to train by"):
            scored(y, teacher=False, outputs=outputs)  # type: ignore[arg-type]


def test_a_teacher_gets_no_gradient_and_a_student_does() -> None:
    student, teacher = nn.Linear(3, 4), nn.Linear(3, 4)
    supervised(student, teacher, "scores")((torch.randn(5, 3), None)).backward()  # type: ignore[no-untyped-call]
    assert student.weight.grad is not None and teacher.weight.grad is None
