"""Load a compressed float network back into torch."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from edgelr.factorize import skeleton
from edgelr.models import fold_batch_norm, load_network, load_weights, plain_layers
from edgelr.pipeline.plans import read_plan


def load(out: str | Path, model: str | nn.Module) -> nn.Module:
    """The compressed float network of a finished run, in eval mode.

    ``out`` is the run's folder, ``model`` the source network (or its name, as on the command line): its structure is what
    the plan applies to; its weights are not used. Raises BadInputError where the files don't fit the network.
    """
    folder = Path(out)
    plan, shape = read_plan(folder / "plan.toml")
    network = load_network(model) if isinstance(model, str) else model
    folded = fold_batch_norm(plain_layers(network.eval(), shape), torch.zeros(2, *shape))
    return load_weights(skeleton(folded, plan), folder / "model.safetensors").eval()
