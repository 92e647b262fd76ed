"""What happens in one forward pass: which modules are called, in which order, with which shapes."""
from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from edgelr.errors import BadInputError
from edgelr.models.depth import evaluating


class _Reads(TorchFunctionMode):
    """Notes each parameter that any torch function is given."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[int] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self._note((args, kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _note(self, value: Any) -> None:
        if isinstance(value, nn.Parameter):
            self.seen.add(id(value))
        elif isinstance(value, list | tuple | dict):
            for inner in value.values() if isinstance(value, dict) else value:
                self._note(inner)


class StopForward(Exception):  # noqa: N818  # a signal, not an error
    """Raised by a hook that has seen enough: the forward pass ends there, without a result."""


@dataclass(frozen=True)
class Call:
    """One call of a module: the shapes (batch first) of its first tensor in and its first tensor out."""

    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]


def record_calls(model: nn.Module, example: Tensor, watched: Iterable[nn.Module]) -> tuple[dict[int, list[Call]], set[int]]:
    """The calls of each watched module (by id; in the order of their first call) in one eval-mode forward pass; parameters read (ids).

    Raises BadInputError where the network doesn't take the example, naming the module in which it failed.
    """
    calls: dict[int, list[Call]] = {}

    def before(module: nn.Module, args: Any, kwargs: Any) -> None:
        calls.setdefault(id(module), [])

    def after(module: nn.Module, args: Any, kwargs: Any, result: Any) -> None:
        calls[id(module)].append(Call(_shape((args, kwargs)), _shape(result)))

    handles = [h for module in watched for h in (module.register_forward_pre_hook(before, with_kwargs=True),
                                                 module.register_forward_hook(after, with_kwargs=True))]
    reads = _Reads()
    try:
        with reads:
            forward(model, example)
    finally:
        for handle in handles:
            handle.remove()
    return {key: done for key, done in calls.items() if done}, reads.seen


def forward(model: nn.Module, example: Tensor) -> Any:
    """One eval-mode forward pass without gradients. Raises BadInputError in the user's terms where the network fails."""
    with evaluating(model), torch.no_grad(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "LSTM with projections is not supported with oneDNN")  # nothing that a user could do about
        try:
            return model(example)
        except StopForward:
            return None
        except Exception as error:
            where = failing_module(model, error)
            first = next((line for line in str(error).splitlines() if line.strip()), "no message")
            raise BadInputError(f"the network fails on an input of shape {'x'.join(map(str, example.shape))}",
                                f"{f'in {where}: ' if where else ''}{type(error).__name__}: {first[:300]}",
                                "give the input shape that it was made for, batch first, as in 1x3x224x224") from error


def failing_module(model: nn.Module, error: BaseException) -> str:
    """The qualified name of the innermost module whose forward was running when ``error`` was raised; "" if none is found."""
    names: dict[int, str] = {id(module): name for name, module in model.named_modules()}
    where, trace = "", error.__traceback__
    while trace is not None:
        owner = trace.tb_frame.f_locals.get("self")
        where = names.get(id(owner), where) or where
        trace = trace.tb_next
    return where


def _shape(value: Any) -> tuple[int, ...]:
    found = _first_tensor(value)
    return () if found is None else tuple(found.shape)


def _first_tensor(value: Any) -> Tensor | None:
    if isinstance(value, Tensor):
        return value
    inner = list(value.values()) if isinstance(value, dict) else value
    if not isinstance(inner, list | tuple):
        return None
    return next((t for t in map(_first_tensor, inner) if t is not None), None)
