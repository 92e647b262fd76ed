"""From a dense layer to two plain torch layers."""
from edgelr.factorize.collect import collect_moments
from edgelr.factorize.costs import break_even_rank, choice_cost
from edgelr.factorize.decomposition import Decomposition, decompose
from edgelr.factorize.matrices import matrix_view, max_rank, pair_weights, weight_from_matrix
from edgelr.factorize.moments import Moments, moments_size_bytes
from edgelr.factorize.rebuild import rebuild, skeleton
from edgelr.factorize.schemes import schemes_of

__all__ = [
    "Decomposition", "Moments", "break_even_rank", "choice_cost", "collect_moments", "decompose", "matrix_view", "max_rank",
    "moments_size_bytes", "pair_weights", "rebuild", "schemes_of", "skeleton", "weight_from_matrix",
]
