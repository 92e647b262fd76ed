"""Get a network from where the user says it is."""
from __future__ import annotations

import difflib
import importlib
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter

from edgelr.errors import BadInputError, UsageError
from edgelr.models.depth import deep_enough
from edgelr.user_code import call_named

ZOOS = {"timm": "timm", "torchvision": "torchvision.models"}


def load_network(spec: str) -> nn.Module:
    """The network that ``spec`` names, in eval mode, float32, on the CPU.

    ``FILE.py:FUNCTION``, ``package.module:function``, ``timm:NAME`` or ``torchvision:NAME``. The two zoos give random weights:
    nothing is downloaded. Running a model's Python is running its code.

    Raises UsageError (unreadable spec, no such function or zoo model, function needs arguments, extra not installed) and
    BadInputError (no such file, its code fails, it returns no network, its parameters have no shape yet, nested too deep).
    """
    zoo, _, name = spec.partition(":")
    made = _from_zoo(zoo, name) if zoo in ZOOS else call_named(spec)
    if not isinstance(made, nn.Module):
        kind = f"the class {made.__name__}" if isinstance(made, type) else f"a {type(made).__name__}"
        raise BadInputError(f"{spec} returned no network", f"it returned {kind}, not a torch.nn.Module object",
                            "return the module itself, built and ready to be called")
    with deep_enough(made):
        return _ready(made, spec)


def _ready(made: nn.Module, spec: str) -> nn.Module:
    lazy = [n for n, p in made.named_parameters() if isinstance(p, UninitializedParameter)]
    if lazy:
        raise BadInputError(f"{lazy[0]} has no shape yet", "lazy modules get their shapes in a first forward pass",
                            f"run the network once on an example inside the function of {spec}")
    return made.to(device="cpu", dtype=torch.float32).eval()


def _from_zoo(zoo: str, name: str) -> Any:
    try:
        models = importlib.import_module(ZOOS[zoo])
    except ModuleNotFoundError as error:
        raise UsageError(f"{zoo}:{name} needs {zoo}", f"{error.name} is not installed: it is an optional extra",
                         f"pip install 'edgelr[{zoo}]'") from error
    except Exception as error:  # torchvision's binary operators don't register beside every build of torch
        raise BadInputError(f"{zoo} can't be imported", f"{type(error).__name__}: {str(error).splitlines()[0][:200]}",
                            f"install the {zoo} that matches torch {torch.__version__}, or copy the model into a FILE.py") from error
    known: list[str] = models.list_models()
    if name not in known:
        near = difflib.get_close_matches(name, known, 3)
        raise UsageError(f"{zoo} has no model {name!r}", f"it has {len(known)} others",
                         f"did you mean {' or '.join(near)}?" if near else f"{ZOOS[zoo]}.list_models() lists them")
    return models.create_model(name, pretrained=False) if zoo == "timm" else models.get_model(name, weights=None)
