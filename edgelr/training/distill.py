"""Distillation: the loss that draws a network's outputs to those of the one that it was made from (Hinton et al., arXiv 1503.02531)."""
from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from edgelr.errors import UsageError
from edgelr.graph import Graph, run
from edgelr.graph.ops import Softmax
from edgelr.training.batches import Batch

Outputs = Literal["scores", "probabilities", "values"]
Teacher = Callable[[Tensor], Tensor] | Graph
SMALLEST_PROBABILITY = 1 / 512  # half a step of the grid that runtimes fix for softmax, which can't tell less from 0


def distillation(
    student: Callable[[Tensor], Tensor],
    teacher: Teacher,
    outputs: Outputs,
    temperature: float = 1.0,
    labels: float = 0.0,
) -> Callable[[Batch], Tensor]:
    """The loss of a batch: ``divergence`` from the teacher, plus ``labels`` times the cross entropy where class numbers are given."""

    def loss(batch: Batch) -> Tensor:
        x, y = batch
        made = student(x)
        total = divergence(made, _taught(teacher, x), outputs, temperature)
        if labels and y is not None and outputs != "values":
            total = total + labels * cross_entropy(made, y, outputs)
        return total

    return loss


def supervised(
    student: Callable[[Tensor], Tensor],
    teacher: Teacher | None,
    outputs: Outputs,
    *,
    weight: float = 1.0,
    temperature: float = 1.0,
    smoothing: float = 0.0,
) -> Callable[[Batch], Tensor]:
    """The loss of training in float: cross entropy to the labels, smoothed, plus ``weight`` times ``divergence`` from the teacher.

    Without labels, or where outputs aren't classes, it is the divergence alone. Raises UsageError where there is nothing to train by.
    """

    def loss(batch: Batch) -> Tensor:
        x, y = batch
        labelled = y is not None and outputs != "values"
        if teacher is None and not labelled:
            raise UsageError("there is nothing to train by", "the samples have no class numbers, and there is no network to imitate",
                             "add labels to the data, or train with the source network as the teacher")
        made = student(x)
        total = cross_entropy(made, y, outputs, smoothing) if y is not None and labelled else torch.zeros(())
        if teacher is None or (labelled and not weight):
            return total
        return total + (weight if labelled else 1.0) * divergence(made, _taught(teacher, x), outputs, temperature)

    return loss


def cross_entropy(made: Tensor, y: Tensor, outputs: Outputs, smoothing: float = 0.0) -> Tensor:
    """Of class scores (or probabilities) [batch, classes] to class numbers [batch], of which each is ``smoothing`` uncertain; the mean."""
    return F.cross_entropy(_log_probabilities(made, outputs, 1.0), y, label_smoothing=smoothing)


def _taught(teacher: Teacher, x: Tensor) -> Tensor:
    with torch.no_grad():
        return run(teacher, x) if isinstance(teacher, Graph) else teacher(x)


def divergence(made: Tensor, wanted: Tensor, outputs: Outputs, temperature: float = 1.0) -> Tensor:
    """Of class scores (or probabilities) [batch, classes]: Kullback-Leibler divergence of ``made`` from ``wanted`` at ``temperature``,
    times its square, mean over the batch. Of other values: squared error relative to the variance of ``wanted``.
    """
    if outputs == "values":
        spread = wanted.var(correction=0)
        return (made - wanted).square().mean() / torch.where(spread > 0, spread, 1.0)
    log_p, log_q = (_log_probabilities(v, outputs, temperature) for v in (wanted, made))
    return F.kl_div(log_q, log_p, reduction="batchmean", log_target=True) * temperature**2


def _log_probabilities(v: Tensor, outputs: Outputs, temperature: float) -> Tensor:
    scores = v.clamp(min=SMALLEST_PROBABILITY).log() if outputs == "probabilities" else v
    return F.log_softmax(scores / temperature, 1)


def outputs_of(graph: Graph) -> Outputs:
    """What a graph's outputs are: class scores where there are two or more numbers a sample on one axis; softmax makes probabilities."""
    shape = graph.shapes[graph.output]
    if len(shape) != 1 or shape[0] < 2:
        return "values"
    makers = {n.name: n for n in graph.nodes}
    value = graph.output
    while value in makers and makers[value].op.tied:
        value = makers[value].inputs[0]
    return "probabilities" if value in makers and isinstance(makers[value].op, Softmax) else "scores"
