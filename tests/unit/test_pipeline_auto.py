"""--train auto decides by rules that are data, and a time is read with its unit."""
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgelr.errors import UsageError
from edgelr.pipeline.settings import TRAIN, seconds_of
from edgelr.pipeline.training.auto import RULES, Facts, decided


def test_every_rule_names_a_recipe_and_a_page_that_is_there(root: Path) -> None:
    for rule in RULES:
        assert rule.recipe in TRAIN and rule.recipe not in ("none", "auto")
        assert (root / rule.evidence).is_file(), rule.evidence
        assert rule.why and 0 < rule.kept <= 1 and rule.epochs >= 1 and rule.kinds


@pytest.mark.parametrize("kind", ["conv", "recurrent", "linear"])
@pytest.mark.parametrize("kept", [0.05, 0.5, 1.0])
def test_any_network_with_time_is_trained_and_told_why(kind: str, kept: float) -> None:
    name, why = decided(Facts(kept, kind, 20, True))  # type: ignore[arg-type]
    assert name in TRAIN and name not in ("none", "auto")
    assert f"{kept:.0%}" in why and kind in why and "20 epochs" in why


def test_where_a_cut_leaves_next_to_nothing_ranks_are_chosen_as_the_weights_train() -> None:
    lost = Facts(0.05, "conv", 4, True, score_kept=0.15)
    name, why = decided(lost)
    assert name == "lc" and "15% of the score" in why
    assert decided(replace(lost, score_kept=0.4))[0] != "lc"
    assert decided(replace(lost, searched=False))[0] != "lc", "a plan that was given has no other ranks to choose"
    assert decided(replace(lost, epochs=1))[0] == "finetune"


def test_with_time_a_convolutional_network_is_trained_towards_its_ranks() -> None:
    assert [decided(Facts(0.25, "conv", n, True))[0] for n in (1, 3, 11, 12, 20)] == ["finetune", "finetune", "finetune", "bsr", "bsr"]
    assert decided(Facts(0.25, "recurrent", 20, True))[0] == "finetune"


def test_nothing_is_trained_without_time_or_without_a_loss_to_win_back() -> None:
    assert decided(Facts(0.2, "conv", 0, True)) == ("none", "auto: there is time for 0 epochs, which is too short to train")
    name, why = decided(Facts(1.0, "conv", 20, False))
    assert name == "none" and "leaves the network as it is" in why


def test_a_recipe_of_two_parts_is_not_chosen_for_an_epoch() -> None:
    assert decided(Facts(0.05, "conv", 1, True))[0] == "finetune"


def test_a_time_is_a_number_with_a_unit() -> None:
    assert [seconds_of(t) for t in ("90s", "30min", " 1.5 h ", ".5h")] == [90, 1800, 5400, 1800]
    for text in ("", "30", "-3s", "0min", "2 days", "1h30min"):
        with pytest.raises(UsageError, match="can't read the time"):
            seconds_of(text)
