"""Deeply nested networks: torch walks modules by recursion, and Python stops that at a thousand frames."""
from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from edgelr.errors import BadInputError

MAX_DEPTH = 1000  # levels; 3,000 were surveyed, copied and captured within an 8 MB C stack
FRAMES_A_LEVEL = 20  # measured at 500 levels: call, deep copy and torch.export pass with 8 a level, not with 4


def check_depth(model: nn.Module) -> int:
    """Levels of modules inside modules. Raises BadInputError past MAX_DEPTH."""
    depth, level, seen = 0, [model], {id(model)}
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise BadInputError(f"the network is nested more than {MAX_DEPTH} modules deep", "no walk over it would fit the stack",
                                "put its parts side by side, in one nn.Sequential")
        below = [child for module in level for child in module.children() if id(child) not in seen]
        seen.update(map(id, below))
        level = below
    return depth


@contextmanager
def deep_enough(model: nn.Module) -> Iterator[None]:
    """Room on Python's stack to call, walk and copy ``model``, however deep it is nested."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, before + FRAMES_A_LEVEL * check_depth(model)))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The network in eval mode; afterwards each module is in the mode that it had."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
