"""Augmentation: what a batch of inputs is made of."""
from __future__ import annotations

import pytest
import torch
from torch import Tensor

from edgelr.training import augmentation
from edgelr.training.augment import crop, flipped


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(n: int) -> Tensor:
    return torch.arange(1.0, n * 3 * 64 + 1).view(n, 3, 8, 8)


def test_a_crop_moves_each_image_by_at_most_the_padding_and_zeros_come_in() -> None:
    x = images(200)
    found = crop(x, 2, drawn())
    seen = set()
    for image, moved in zip(x, found, strict=True):
        padded = torch.nn.functional.pad(image, (2,) * 4)
        places = [(i, j) for i in range(5) for j in range(5) if torch.equal(padded[:, i : i + 8, j : j + 8], moved)]
        assert len(places) == 1
        seen |= set(places)
    assert len(seen) == 25


def test_half_of_the_images_are_mirrored_whole() -> None:
    x = images(400)
    found = flipped(x, drawn())
    mirrored = [torch.equal(b, a.flip(2)) for a, b in zip(x, found, strict=True)]
    assert all(m or torch.equal(a, b) for a, b, m in zip(x, found, mirrored, strict=True)) and 160 < sum(mirrored) < 240


def test_draws_are_the_generator_s() -> None:
    change = augmentation((3, 8, 8))
    assert change is not None
    assert torch.equal(change(images(20), drawn()), change(images(20), drawn()))
    assert not torch.equal(change(images(20), drawn()), change(images(20), drawn(1)))


@pytest.mark.parametrize("shape", [(128, 9), (40,), (1, 40, 1), (64, 8, 8)])
def test_what_is_no_image_stays_as_it_is(shape: tuple[int, ...]) -> None:
    assert augmentation(shape) is None
