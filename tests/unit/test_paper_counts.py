"""The papers' numbers of parameters and MACs, to the printed digit, from edgelr's own counting."""
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

from bench_counts import Row, joint_rows, lc_rows, lrpet_rows, verdict
from c_step_trials import budgets_equal, layers_equal
from paper_counts import dense, joint, joint_ranks, lrpet
from paper_nets import imagenet_resnet, thin_resnet, wide_resnet


def others(rows: list[Row]) -> list[tuple[str, ...]]:
    return [row.told for row in rows if not verdict(row.value, row.printed).startswith("equal")]


def test_joint_decompositions_factors_and_flops_are_the_papers() -> None:
    rows = list(joint_rows())
    assert len(rows) == 15 and not others(rows)


def test_joint_decompositions_groups_have_the_papers_ranks() -> None:
    assert joint_ranks(wide_resnet(34), 0.04) == [(3, 7), (4, 8), (5, 17), (6, 17), (2, 27), (3, 30)]


def test_a_common_factor_saves_parameters_and_no_work() -> None:
    network = wide_resnet(34)
    alone, together = joint(network, 32, 0.04), joint(network, 32, 0.04, "left")
    assert together.params == pytest.approx(alone.params, rel=0.005) and together.macs > 1.05 * alone.macs


def test_lrpets_macs_and_parameters_are_the_papers() -> None:
    rows = list(lrpet_rows())
    assert len(rows) == 12 and not others(rows)


@pytest.mark.parametrize(("depth", "goal", "macs"), [(18, 0.58, "0.861"), (34, 0.58, "1.715"), (50, 0.62, "1.903")])
def test_lrpets_imagenet_networks_to_three_digits(depth: int, goal: float, macs: str) -> None:
    assert f"{lrpet(imagenet_resnet(depth), 224, goal).macs / 1e9:.3f}" == macs


def test_lrpets_counts_need_padded_shortcuts() -> None:
    assert lrpet(thin_resnet(56, "B"), 32, 0.57).macs != lrpet(thin_resnet(56), 32, 0.57).macs
    assert lrpet(thin_resnet(56), 32, 0.0).macs > dense(thin_resnet(56), 32).macs  # a rank above break-even costs more than dense


def test_dense_networks_have_the_macs_that_learning_compression_tells() -> None:
    assert others(list(lc_rows())) == [("ResNet-110, shortcut A", "dense", "MMACs", "252.6", "252.888", "+0.11%")]  # read from a figure


def test_published_imagenet_networks_have_their_known_size() -> None:
    # torchvision's, with batch norm: 11,689,512, 21,797,672 and 25,557,032.
    norms = {18: 9600, 34: 17024, 50: 53120}
    assert [dense(imagenet_resnet(d), 224).params + n for d, n in norms.items()] == [11_689_512, 21_797_672, 25_557_032]


def test_the_c_step_is_what_brute_force_finds() -> None:
    rng = np.random.default_rng(0)
    layers, networks = layers_equal(1000, rng), budgets_equal(40, rng)
    assert layers.equal == 1000 and 0.1 < layers.dense < 0.9
    assert networks.equal > 30 and networks.additive_equal == 40


@pytest.mark.parametrize(("value", "printed", "told"), [
    (22.068, "22.07", "equal"), (0.39446, "0.39", "equal"), (13.925023, "13.92", "equal, cut off instead of rounded"),
    (252.888, "252.6", "+0.11%"), (0.3, "0.39", "-23.08%"), (312.4, "313", "-0.19%"),
])
def test_verdicts(value: float, printed: str, told: str) -> None:
    assert verdict(value, printed) == told
