"""What a network does beside computing: it keeps state, draws random numbers, takes or gives several tensors. A file does none of that."""
from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from edgelr.errors import UnsupportedError
from edgelr.graph.state import Change, State, close

REPEATS = 1e-6  # of the largest value: kernels may sum in another order from run to run
MOST_RUNS = 8  # to find who draws: by then a coin has fallen on both sides, but for one time in 128
ALIKE = 1e-2  # of the largest value: folding and other kernels give 1e-5; a branch or a draw that was frozen gives far more


def named_values(value: Any, name: str = "") -> list[tuple[str, Any]]:
    """What forward() returned, flat: each value with the key, field or number that it has in dictionaries, tuples and lists."""
    if isinstance(value, Mapping):
        items: list[tuple[Any, Any]] = list(value.items())
    elif isinstance(value, list | tuple):
        items = list(zip(getattr(value, "_fields", range(len(value))), value, strict=True))
    else:
        return [(name, value)]
    return [found for key, inner in items for found in named_values(inner, f"{name}.{key}" if name else str(key))]


def check_one_input(model: nn.Module) -> None:
    """Raises UnsupportedError, with their names, where forward() needs several inputs, or takes none."""
    try:
        parameters = list(inspect.signature(model.forward).parameters.values())
    except (TypeError, ValueError):  # a forward without a signature: running it will tell
        return
    needed = [p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if len(needed) > 1 or all(p.kind in (p.KEYWORD_ONLY, p.VAR_KEYWORD) for p in parameters):
        raise UnsupportedError(f"the network takes {len(needed)} inputs{': ' if needed else ''}{', '.join(needed)}",
                               "edgelr compresses networks of one tensor in, one out",
                               "wrap it in a module whose forward() takes one tensor, and makes or holds the others")


def check_one_output(output: Any) -> Tensor:
    """The one tensor that forward() returned. Raises UnsupportedError, with names and shapes, where it is anything else."""
    values = named_values(output)
    tensors = [(name, v) for name, v in values if isinstance(v, Tensor)]
    if len(tensors) == 1:
        return tensors[0][1]
    named = ", ".join(f"{name} ({'x'.join(map(str, v.shape[1:]))})" for name, v in tensors)
    what = f"{len(tensors)} tensors: {named}" if tensors else f"no tensor: {type(output).__name__}"
    raise UnsupportedError(f"the network returns {what}", "one tensor out is supported (shapes without batch)",
                           "wrap it in a module that returns the one you deploy")


def watch(model: nn.Module, x: Tensor) -> tuple[Any, tuple[Change, ...]]:
    """The output of a network in eval mode, and what forward() changes although the output doesn't depend on it.

    ``x``: float32 [N, ...]. Runs twice, and puts the state back. Raises UnsupportedError, naming the module, where the same input gives
    another output the second time: because of what the first run left behind, or by chance.
    """
    state = State(model)
    try:
        with torch.no_grad():
            first = model(x.clone())
            changes = state.changes()
            if _alike(first, model(x.clone())):
                return first, changes
            state.put_back()
            if changes and _alike(first, model(x.clone())):
                raise UnsupportedError(f"{changes[0].path or 'the network'}: the output depends on earlier calls",
                                       f"forward() keeps state: {told(changes)}",
                                       "make that state an input and an output of forward(), or change it only if self.training")
            state.put_back()
            path, kind = _chance(model, x, state)
            raise UnsupportedError(f"{path or 'the network'}: the same input gives another output each time",
                                   f"forward() of {kind} draws random numbers in eval mode, or keeps state that is no attribute",
                                   "draw only if self.training, as in dropout(x, p, self.training); or make what was drawn a buffer")
    finally:
        state.put_back()


def told(changes: tuple[Change, ...]) -> str:
    """The first three changes in words."""
    return "; ".join(map(str, changes[:3])) + (f"; and {len(changes) - 3} more" if len(changes) > 3 else "")


def check_same(model: nn.Module, run: Callable[[Tensor], Tensor], x: Tensor, wanted: Tensor, more: Tensor) -> None:
    """Raises UnsupportedError where ``run``, which is what was captured, gives other outputs than forward().

    ``wanted`` is forward()'s for ``x``; ``more`` is an input of another number of samples.
    """
    if not close(wanted, run(x), ALIKE):
        raise UnsupportedError("what was captured gives other outputs than forward()",
                               "forward() decides something in Python (by a flag, a counter or the time), and the decision was frozen",
                               "decide by tensors (torch.where), not by Python state")
    state = State(model)
    try:
        with torch.no_grad():
            wanted = check_one_output(model(more.clone()))
    except Exception:  # made for one batch size only: the graph tells samples apart all the same
        return
    finally:
        state.put_back()
    if not close(wanted, run(more), ALIKE):
        raise UnsupportedError(f"the network computes something else for {len(more)} samples than for {len(x)}",
                               "forward() depends on the number of samples in a batch, and files run one sample at a time",
                               "make each sample's output depend on that sample alone")


def _alike(a: Any, b: Any) -> bool:
    first, second = named_values(a), named_values(b)
    return len(first) == len(second) and all(
        close(x, y, REPEATS) if isinstance(x, Tensor) and isinstance(y, Tensor) else type(x) is type(y) and (x == y or x != x)
        for (_, x), (_, y) in zip(first, second, strict=True))


def _chance(model: nn.Module, x: Tensor, state: State) -> tuple[str, str]:
    """Path and class of the first module to end a call with the same input and another output than in the first of several runs."""
    runs: list[list[tuple[str, str, float, float]]] = []
    names = {id(module): name for name, module in model.named_modules()}

    def after(module: nn.Module, args: Any, kwargs: Any, result: Any) -> None:
        runs[-1].append((names[id(module)], type(module).__name__, _sum((args, kwargs)), _sum(result)))

    handles = [module.register_forward_hook(after, with_kwargs=True) for module in model.modules()]
    try:
        for _ in range(MOST_RUNS):
            runs.append([])
            model(x.clone())
            state.put_back()
    finally:
        for handle in handles:
            handle.remove()
    found = ((path, kind) for run in runs[1:] for (path, kind, given, made), (_, _, again, remade) in zip(runs[0], run, strict=False)
             if given == again and made != remade)
    return next(found, ("", type(model).__name__))


def _sum(value: Any) -> float:
    """One figure for all tensors in ``value``, to tell whether they are the same."""
    return sum(float(v.detach().double().nan_to_num().sum()) for _, v in named_values(value) if isinstance(v, Tensor))
