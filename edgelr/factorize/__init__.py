"""From a dense layer to two plain torch layers, and from a recurrent one to one of low-rank gate matrices."""
from edgelr.factorize.collect import collect_moments, feed
from edgelr.factorize.costs import break_even_rank, choice_cost
from edgelr.factorize.decomposition import Decomposition, decompose
from edgelr.factorize.gates import Gates, gate_matrices, named_layers
from edgelr.factorize.geometry import geometry_of
from edgelr.factorize.matrices import matrices_of, matrix_view, max_rank, pair_weights, weight_from_matrix
from edgelr.factorize.moments import Moments, moments_size_bytes
from edgelr.factorize.rebuild import rebuild, skeleton
from edgelr.factorize.recurrent import FactoredRecurrent
from edgelr.factorize.schemes import schemes_of

__all__ = [
    "Decomposition", "FactoredRecurrent", "Gates", "Moments", "break_even_rank", "choice_cost", "collect_moments", "decompose", "feed",
    "gate_matrices", "geometry_of", "matrices_of", "matrix_view", "max_rank", "moments_size_bytes", "named_layers", "pair_weights",
    "rebuild", "schemes_of", "skeleton", "weight_from_matrix",
]
