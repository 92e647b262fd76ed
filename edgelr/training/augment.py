"""Changes to a batch of inputs that leave its labels right, drawn from the generator given."""
from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

Augment = Callable[[Tensor, torch.Generator], Tensor]

PADDING = 1 / 8  # of an image's side: 4 pixels of 32, as is usual on CIFAR-10 (He et al., arXiv 1512.03385, section 4.2)


def augmentation(shape: Sequence[int]) -> Augment | None:
    """What suits samples of a shape: images of 1 or 3 channels [c, h, w] are shifted and flipped, others stay as they are."""
    if len(shape) != 3 or shape[0] not in (1, 3) or min(shape[1:]) < 8:
        return None
    padding = max(1, round(PADDING * min(shape[1:])))
    return lambda x, generator: crop(flipped(x, generator), padding, generator)


def crop(x: Tensor, padding: int, generator: torch.Generator) -> Tensor:
    """Each image of [b, c, h, w] moved by up to ``padding`` pixels each way; zeros come in at the edge."""
    h, w = x.shape[2:]
    rows, columns = (torch.randint(0, 2 * padding + 1, (len(x),), generator=generator) for _ in range(2))
    padded = F.pad(x, (padding,) * 4)
    return torch.stack([image[:, i : i + h, j : j + w] for image, i, j in zip(padded, rows.tolist(), columns.tolist(), strict=True)])


def flipped(x: Tensor, generator: torch.Generator) -> Tensor:
    """About half of the images of [b, c, h, w] mirrored left to right."""
    mirrored = torch.rand(len(x), generator=generator) < 0.5
    return torch.where(mirrored.view(-1, 1, 1, 1), x.flip(3), x)
