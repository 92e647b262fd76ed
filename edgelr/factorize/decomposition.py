"""One decomposition a layer and scheme, good for every rank."""
from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn

from edgelr.errors import BadInputError, UsageError
from edgelr.factorize.geometry import Geometry, geometry_of
from edgelr.factorize.matrices import pair_weights, weight_from_matrix
from edgelr.factorize.moments import Moments
from edgelr.factorize.pairs import plain_pair
from edgelr.factorize.schemes import schemes_of
from edgelr.factorize.split import Split, aware_splits, plain_split
from edgelr.vocabulary import Scheme


@dataclass(frozen=True, eq=False)
class Decomposition:
    """A layer's weight split once, to be cut at any rank. Made by ``decompose``.

    ``splits`` holds one split, or two of which the better one is taken at each rank. ``bias`` [out] is the layer's. ``mean``
    [groups, d] is its mean input patch and ``mean_output`` [out] its mean output, where the bias takes over the mean's error.
    """

    geometry: Geometry
    scheme: Scheme
    splits: tuple[Split, ...]
    bias: Tensor | None
    mean: Tensor | None = None
    mean_output: Tensor | None = None

    @property
    def max_rank(self) -> int:
        """Full rank (of each group)."""
        return self.splits[0].left.shape[2]

    def error(self, rank: int) -> float:
        """Squared error at ``rank`` relative to the whole, in [0, 1], never rising with rank, 0 at full rank.

        With moments: E||error of the outputs||^2 over the outputs' energy (over their variance for a layer with a bias), bias
        correction included. Without: the weight's squared Frobenius error over its squared norm. Raises UsageError for a rank that is
        not in 1 to ``max_rank``, as ``weights``, ``pair`` and ``product`` do.
        """
        return float(self._best(rank).errors[rank])

    def errors(self) -> Tensor:
        """``error`` of all ranks, float64 [max_rank + 1]; index = rank, rank 0 being the layer without its weight."""
        return torch.stack([split.errors for split in self.splits]).amin(dim=0)

    def product(self, rank: int) -> tuple[Tensor, Tensor | None]:
        """The dense weight (the layer's shape and dtype) and bias that equal the pair's composition at ``rank``."""
        left, right = self._best(rank).factors(rank)
        weight = weight_from_matrix(left @ right, self.scheme, self.geometry.weight_shape)
        bias = self._corrected_bias(weight)
        return self._cast(weight), None if bias is None else self._cast(bias)

    def weights(self, rank: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """The weights of the first and the second layer, shaped as ``matrices.pair_weight_shapes`` says, and the bias of the second (None
        where the layer has none), in the layer's dtype."""
        split = self._best(rank)
        left, right = split.factors(rank)
        scales = split.scales[:, :rank]
        weights = pair_weights(left * scales[:, None, :], right / scales[:, :, None], self.scheme, self.geometry.weight_shape)
        bias = self._corrected_bias(weight_from_matrix(left @ right, self.scheme, self.geometry.weight_shape))
        return self._cast(weights[0]), self._cast(weights[1]), None if bias is None else self._cast(bias)

    def pair(self, rank: int) -> nn.Sequential:
        """Two plain torch layers, children "0" and "1", in the layer's dtype; only the second has a bias, if the layer has one."""
        return plain_pair(self.geometry, self.scheme, *self.weights(rank))

    def _best(self, rank: int) -> Split:
        if not 1 <= rank <= self.max_rank:
            why = f"this {self.scheme} pair has ranks 1 to {self.max_rank}"
            raise UsageError(f"rank {rank} is not possible", why, "choose a rank in that range")
        return min(self.splits, key=lambda split: float(split.errors[rank]))

    def _corrected_bias(self, product: Tensor) -> Tensor | None:
        """The bias that makes the pair's mean output that of the layer."""
        if self.mean is None or self.mean_output is None:
            return self.bias
        return self.mean_output - _mean_response(product, self.mean)

    def _cast(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.geometry.device, self.geometry.dtype)


def decompose(module: nn.Module, scheme: Scheme, moments: Moments | None = None) -> Decomposition:
    """Split a layer's weight by ``scheme``: one SVD (or one eigendecomposition), in float64, from which every rank is cut.

    Without moments: plain SVD. With the moments of the layer's inputs the output error is least instead of the weight error
    (``basis.principal_basis``). A layer with a bias is split by the inputs' covariance, because the second layer's bias then corrects
    the mean's error exactly; a layer without one by the plain second moment. For all schemes but ``spatial`` the result is optimal and
    ``error`` is the exact output error on the inputs that the moments saw (of a gate matrix: of the gates' sums before they are bent).

    For ``spatial`` no closed form of the optimum is known. Two first factors are made: by the moment of the patch's columns averaged
    over the columns (which leaves the columns' correlation out), and by the weight alone. The second factor of each is refitted by
    least squares against the full patch moment (``refit``), and the better pair is taken at each rank, so that it is never worse than
    plain. ``error`` is the exact output error of that pair, up to a ridge of 1e-10 of the outputs' energy.

    Raises UsageError if the layer can't take the scheme, or if the moments are of another layer; BadInputError if the weight is NaN or
    infinite, or no input was seen.
    """
    possible, reason = schemes_of(module)
    if scheme not in possible:
        what = f"a {type(module).__name__} of this shape can't be factorised as {scheme!r}"
        raise UsageError(what, reason or f"it can take {' or '.join(possible)}", "choose another scheme, or dense")
    geometry = geometry_of(module)
    weight = cast(Tensor, module.weight).detach().to("cpu", torch.float64)
    bias = cast(Tensor, module.bias).detach().to("cpu", torch.float64, copy=True) if geometry.bias else None
    if not torch.isfinite(weight).all():
        raise BadInputError("a layer's weight is NaN or infinite", "it can't be decomposed", "check the weights file")
    if moments is None:
        return Decomposition(geometry, scheme, (plain_split(weight, scheme, geometry),), bias)
    _check_moments(moments, geometry)
    splits = aware_splits(weight, scheme, geometry, moments)
    if bias is None:
        return Decomposition(geometry, scheme, splits, None)
    mean = moments.mean
    return Decomposition(geometry, scheme, splits, bias, mean, bias + _mean_response(weight, mean))


def _mean_response(weight: Tensor, mean: Tensor) -> Tensor:
    groups, d = mean.shape
    return (weight.reshape(groups, -1, d) @ mean[:, :, None]).flatten()


def _check_moments(moments: Moments, geometry: Geometry) -> None:
    if moments.count == 0:
        what = "no calibration input reached this layer"
        raise BadInputError(what, "its moments are empty", "leave the moments out, or feed samples first")
    # What patches look like doesn't depend on these three, and folding a batch norm adds a bias.
    if replace(moments.geometry, bias=geometry.bias, dtype=geometry.dtype, device=geometry.device) != geometry:
        why = f"they are of {moments.geometry}, not of {geometry}"
        raise UsageError("the moments are of another layer", why, "pass this layer's moments")
