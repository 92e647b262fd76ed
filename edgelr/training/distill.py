"""Distillation: the loss that draws a network's outputs to those of the one that it was made from (Hinton et al., arXiv 1503.02531)."""
from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from edgelr.graph import Graph, run
from edgelr.graph.ops import Softmax
from edgelr.training.batches import Batch

Outputs = Literal["scores", "probabilities", "values"]
SMALLEST_PROBABILITY = 1 / 512  # half a step of the grid that runtimes fix for softmax, which can't tell less from 0


def distillation(
    student: Callable[[Tensor], Tensor],
    teacher: Callable[[Tensor], Tensor] | Graph,
    outputs: Outputs,
    temperature: float = 1.0,
    labels: float = 0.0,
) -> Callable[[Batch], Tensor]:
    """The loss of a batch: ``divergence`` from the teacher, plus ``labels`` times the cross entropy where class numbers are given."""

    def loss(batch: Batch) -> Tensor:
        x, y = batch
        with torch.no_grad():
            wanted = run(teacher, x) if isinstance(teacher, Graph) else teacher(x)
        made = student(x)
        total = divergence(made, wanted, outputs, temperature)
        if labels and y is not None and outputs != "values":
            total = total + labels * F.nll_loss(_log_probabilities(made, outputs, 1.0), y)
        return total

    return loss


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
