"""The rates that a recipe is run at: by the kind of network, and by what the cut lost."""
from __future__ import annotations

import pytest
from training_sample import Convolutional, Rows, network

from edgelr.pipeline.source import inspect
from edgelr.pipeline.training.recipes import for_cut, suited


@pytest.mark.parametrize(("kept", "rate"), [(1.02, 0.005), (0.8, 0.005), (0.7, 0.015), (0.0, 0.015)])
def test_factors_that_kept_most_of_the_score_get_a_small_rate(kept: float, rate: float) -> None:
    recipe = for_cut(suited("bsr", inspect("net", network(Convolutional), (1, 8, 8))), kept)
    assert recipe.rate == rate
    assert recipe.rate_before == 0.05, "the whole network was trained by then"


def test_networks_without_batch_norm_keep_the_rate_of_their_optimizer() -> None:
    recipe = suited("finetune", inspect("net", network(Rows), (1, 8, 8)))
    assert recipe.optimizer == "adamw"
    assert for_cut(recipe, 1.0) == recipe
