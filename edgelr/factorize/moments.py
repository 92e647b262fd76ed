"""First and second moment of what a layer reads, gathered batch by batch in constant memory."""
from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgelr.errors import BadInputError
from edgelr.factorize.geometry import Geometry, geometry_of

_CHUNK_BYTES = 64 * 2**20
_GOLDEN = 0.6180339887498949


class Moments:
    """Streaming moments of a layer's input patches: one patch for each output position (of each group that reads inputs of its own).

    For a convolution a patch is what one output reads, padding included, in the order (channel, row, column); for a linear layer
    or a gate matrix it is a row of the input flattened to (-1, in). Patches have ``d`` numbers; accumulators are float64 and take
    8 * groups * d^2 bytes, however many samples pass.

    A call of ``update`` reads at most ``max_rows`` patches, spread evenly over all samples and positions of the batch, and weighs
    them so that ``count`` and the moments stand for all patches of the batch. ``rows`` counts those read.
    """

    def __init__(self, module: nn.Module, max_rows: int = 4096) -> None:
        self.geometry: Geometry = geometry_of(module)
        self.max_rows = max_rows
        self.count = 0
        self.rows = 0
        groups, d = self.geometry.input_groups, self.geometry.patch_size
        self._sum = torch.zeros(groups, d, dtype=torch.float64)
        self._sum_of_products = torch.zeros(groups, d, d, dtype=torch.float64)

    def update(self, x: Tensor) -> None:
        """Add one batch of the layer's inputs, shaped as the layer takes them. Raises BadInputError where they are NaN or infinite."""
        x = x.detach()
        if not torch.isfinite(x).all():
            raise BadInputError(
                "the inputs of a layer are NaN or infinite", "the calibration data, or a layer before, produced them",
                "check the calibration data and the weights",
            )
        windows = _windows(x, self.geometry)
        total = windows.shape[0] * windows.shape[1] * windows.shape[2]
        if total == 0:
            return
        rows = _spread(total, self.max_rows)
        weight = total / len(rows)
        groups, d = self._sum.shape
        step = max(1, _CHUNK_BYTES // (8 * groups * d))
        for start in range(0, len(rows), step):
            chunk = rows[start : start + step]
            sample, row, column = torch.unravel_index(chunk, windows.shape[:3])
            patches = windows[sample, row, column].to("cpu", torch.float64).reshape(len(chunk), groups, d).transpose(0, 1)
            self._sum += weight * patches.sum(dim=1)
            self._sum_of_products += weight * (patches.transpose(1, 2) @ patches)
        self.count += total
        self.rows += len(rows)

    @property
    def mean(self) -> Tensor:
        """E[x], [groups, d]."""
        return self._sum / max(self.count, 1)

    @property
    def second(self) -> Tensor:
        """E[x x^T], [groups, d, d]."""
        return self._sum_of_products / max(self.count, 1)

    @property
    def covariance(self) -> Tensor:
        """E[(x - E[x]) (x - E[x])^T], [groups, d, d]."""
        mean = self.mean
        return self.second - mean[:, :, None] * mean[:, None, :]


def moments_size_bytes(module: nn.Module) -> int:
    """What ``Moments(module)`` holds, in bytes: 8 * groups * d * (d + 1). A linear layer with 25,088 inputs takes 5 GB."""
    geometry = geometry_of(module)
    return 8 * geometry.input_groups * geometry.patch_size * (geometry.patch_size + 1)


def _windows(x: Tensor, geometry: Geometry) -> Tensor:
    """A view of all patches without copying them: [samples, rows, columns, channels, k1, k2]."""
    if geometry.kind in ("linear", "recurrent"):
        return x.reshape(-1, 1, 1, geometry.in_channels, 1, 1)
    directions = len(geometry.kernel)
    if x.dim() == directions + 1:
        x = x[None]
    pads = [p for pair in reversed(geometry.pads()) for p in pair]
    if any(pads):
        x = functional.pad(x, pads, mode="constant" if geometry.padding_mode == "zeros" else geometry.padding_mode)
    kernel, stride, dilation = geometry.kernel, geometry.stride, geometry.dilation
    if directions == 1:
        x, kernel, stride, dilation = x[:, :, None], (1, *kernel), (1, *stride), (1, *dilation)
    (k1, k2), (s1, s2), (d1, d2) = kernel, stride, dilation
    samples, channels, height, width = x.shape
    out_height = (height - d1 * (k1 - 1) - 1) // s1 + 1
    out_width = (width - d2 * (k2 - 1) - 1) // s2 + 1
    n, c, h, w = x.stride()
    return x.as_strided((samples, out_height, out_width, channels, k1, k2), (n, h * s1, w * s2, c, h * d1, w * d2))


def _spread(total: int, limit: int) -> Tensor:
    """At most ``limit`` of ``total`` indices, one in each of ``limit`` equal stretches.

    The place inside the stretch follows the golden ratio: a fixed step would fall on the same image columns again and again.
    """
    if total <= limit:
        return torch.arange(total)
    i = torch.arange(limit, dtype=torch.float64)
    return ((i + (i * _GOLDEN) % 1.0) * (total / limit)).long().clamp(max=total - 1)
