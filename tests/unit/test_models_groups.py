"""Which layers are found to share a factor, and which groups a user may name."""

from __future__ import annotations

import pytest
from torch import nn

from edgelr.errors import UsageError
from edgelr.models import found_groups, given_groups


def conv(width: int = 32, stride: int = 1, kernel: int = 3) -> nn.Conv2d:
    return nn.Conv2d(width, width, kernel, stride, padding=kernel // 2)


def block(width: int, stride: int = 1) -> dict[str, nn.Module]:
    return {"conv1": conv(width, stride), "conv2": conv(width)}


def named(blocks: list[dict[str, nn.Module]]) -> dict[str, nn.Module]:
    return {f"blocks.{i}.{name}": layer for i, found in enumerate(blocks) for name, layer in found.items()}


def test_a_position_in_repeated_blocks_is_a_group_where_shape_and_stride_are_equal() -> None:
    layers = named([block(32), block(32), block(32), block(64, 2), block(64), block(64)])
    assert found_groups(layers, layers) == {
        "blocks.0-2.conv1": tuple(f"blocks.{i}.conv1" for i in range(3)),
        "blocks.0-2.conv2": tuple(f"blocks.{i}.conv2" for i in range(3)),
        "blocks.3-5.conv2": tuple(f"blocks.{i}.conv2" for i in range(3, 6)),
        "blocks.4-5.conv1": ("blocks.4.conv1", "blocks.5.conv1"),
    }


def test_the_layers_of_a_plain_sequence_are_grouped_by_shape() -> None:
    layers: dict[str, nn.Module] = {"features.0": nn.Conv2d(3, 32, 3), "features.3": conv(), "features.7": conv(), "features.10": conv(64)}
    assert found_groups(layers, layers) == {"features.3+7": ("features.3", "features.7")}


def test_each_layer_is_in_one_group_the_largest() -> None:
    layers = {f"s.{i}.{j}.conv": conv() for i in range(2) for j in range(3)}
    groups = found_groups(layers, layers)
    members = [name for found in groups.values() for name in found]
    assert len(members) == len(set(members)) == 6 and sorted(map(len, groups.values())) == [3, 3]


def test_given_groups_are_names_and_patterns_each_entry_a_group() -> None:
    layers = named([block(32), block(32), block(32), block(64)])
    groups = given_groups(layers, layers, ["blocks.[0-1].conv1,blocks.2.conv1", "blocks.*.conv2"])
    assert groups["blocks.0-2.conv1"] == ("blocks.0.conv1", "blocks.1.conv1", "blocks.2.conv1")
    assert list(groups.values())[1:] == [("blocks.0.conv2", "blocks.1.conv2", "blocks.2.conv2")]  # the wide one has no partner


@pytest.mark.parametrize(
    ("patterns", "told"),
    [
        (["bloks.0.conv1"], "matches no layer"),
        (["blocks.0.conv1,blocks.1.*", "blocks.*.conv1"], "two groups"),
        (["blocks.[03].conv1"], "no two"),
    ],
)
def test_a_group_that_is_none_is_refused(patterns: list[str], told: str) -> None:
    layers = named([block(32), block(32), block(32), block(64)])
    with pytest.raises(UsageError, match=told):
        given_groups(layers, layers, patterns)
