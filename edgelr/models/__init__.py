"""Read a network and its weights, survey its layers, and look at its inputs."""
from edgelr.models.fold import fold_batch_norm, folding
from edgelr.models.groups import found_groups, given_groups
from edgelr.models.inputs import InputWarning, check_inputs
from edgelr.models.live import live, settled
from edgelr.models.network import load_network
from edgelr.models.plain import plain_layers
from edgelr.models.survey import survey
from edgelr.models.weights import load_weights

__all__ = [
    "InputWarning", "check_inputs", "fold_batch_norm", "folding", "found_groups", "given_groups", "live",
    "load_network", "load_weights", "plain_layers", "settled", "survey",
]
