"""How many epochs --time allows on this machine, by steps that are really taken."""

from __future__ import annotations

import copy
from dataclasses import replace

from torch import nn

from edgelr.pipeline.source import Source
from edgelr.pipeline.training.recipes import LossOf, Recipe, Rows, fit, method_of, tuned
from edgelr.training import Batches, epochs_within
from edgelr.vocabulary import Plan


def epochs_for(
    seconds: float, source: Source, plan: Plan, cut: nn.Module, recipe: Recipe, batches: Batches, loss: LossOf, rows: Rows | None
) -> tuple[int, float]:
    """As many epochs of a recipe as fit into ``seconds``, timing included, and the seconds that one takes at most.

    ``cut`` is the network as the plan factorises it. Both of a recipe's parts are timed; the slower counts for all.
    """
    def factors(timed: Batches) -> None:
        tuned(cut, source, recipe, timed, 1, loss)

    def whole(timed: Batches) -> None:
        net = copy.deepcopy(source.plain)
        calm = replace(recipe, lc=replace(recipe.lc, steps=1))  # C steps are some a training, not some an epoch
        fit(net, loss, timed, calm.schedule(1), calm.rate_before, method_of(net, source, plan, calm, batches, rows), lambda progress: None)

    return epochs_within(seconds, [factors] if recipe.name == "finetune" else [whole, factors], batches)
