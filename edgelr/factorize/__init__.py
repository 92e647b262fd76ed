"""From a dense layer to two plain torch layers, and from a recurrent one to one of low-rank gate matrices."""
from edgelr.factorize.collect import collect_moments, feed
from edgelr.factorize.costs import break_even_rank, choice_cost
from edgelr.factorize.decomposition import Decomposition, decompose
from edgelr.factorize.gates import Gates, gate_matrices, named_layers
from edgelr.factorize.geometry import geometry_of
from edgelr.factorize.joint import JointDecomposition, decompose_group
from edgelr.factorize.joint_rule import joint_params, joint_rank, joint_rate, plain_rank
from edgelr.factorize.matrices import matrices_of, matrix_view, max_rank, pair_weights, weight_from_matrix
from edgelr.factorize.moments import Moments, moments_size_bytes
from edgelr.factorize.rebuild import rebuild, skeleton
from edgelr.factorize.recurrent import FactoredRecurrent
from edgelr.factorize.schemes import schemes_of
from edgelr.factorize.shared import last_layers, scale_outputs
from edgelr.factorize.sharing import common_params, group_cost, stored_twice

__all__ = [
    "Decomposition", "FactoredRecurrent", "Gates", "JointDecomposition", "Moments", "break_even_rank", "choice_cost", "collect_moments",
    "common_params", "decompose", "decompose_group", "feed", "gate_matrices", "geometry_of", "group_cost", "joint_params", "joint_rank",
    "joint_rate", "last_layers", "matrices_of", "matrix_view", "max_rank", "moments_size_bytes", "named_layers", "pair_weights",
    "plain_rank", "rebuild", "scale_outputs", "schemes_of", "skeleton", "stored_twice", "weight_from_matrix",
]
