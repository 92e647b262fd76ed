"""Which schemes a layer can take, and if none, why not."""
from __future__ import annotations

from torch import nn

from edgelr.factorize.geometry import Geometry, geometry_of, why_not_plain
from edgelr.factorize.matrices import matrix_sides
from edgelr.vocabulary import Scheme


def schemes_of(module: nn.Module) -> tuple[tuple[Scheme, ...], str]:
    """The schemes that ``module`` can take with fewer parameters at rank 1 at least; and if none, the reason ("" otherwise).

    A rank r of an m x n matrix pays where r (m + n) < m n. Depthwise convolutions are left alone: they have one filter a group,
    so no channels to mix, and their kernels are fast as they are.
    """
    reason = why_not_plain(module)
    if reason:
        return (), reason
    geometry = geometry_of(module)
    if geometry.groups > 1 and geometry.groups == geometry.in_channels == geometry.out_channels:
        return (), "depthwise: one filter for each channel leaves nothing to factorise"
    fitting = _fitting(geometry)
    paying = tuple(scheme for scheme in fitting if _pays(geometry, scheme))
    if paying:
        return paying, ""
    m, n = matrix_sides(geometry.weight_shape, fitting[0], geometry.groups)
    each = " of each group" if geometry.groups > 1 and geometry.kind != "recurrent" else ""
    return (), f"even rank 1 doesn't save parameters: the matrix{each} is {m} x {n}"


def _fitting(geometry: Geometry) -> tuple[Scheme, ...]:
    if geometry.kind == "linear":
        return ("linear",)
    if geometry.kind == "recurrent":
        return ("recurrent", "gates")
    # A kernel of 1 in one direction is already one half of a spatial pair.
    return ("channel", "spatial") if geometry.kind == "conv2d" and min(geometry.kernel) > 1 else ("channel",)


def _pays(geometry: Geometry, scheme: Scheme) -> bool:
    m, n = matrix_sides(geometry.weight_shape, scheme, geometry.groups)
    return m + n < m * n
