"""What the modules of a network hold: as it was, what forward() changed of it, and put back."""
from __future__ import annotations

import copy
from collections import deque
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

BOOKKEEPING = frozenset(vars(nn.Module())) - {"training"}  # torch's own attributes of every module
PLAIN = (int, float, complex, str, bytes, bool, type(None))
CONTAINERS = (list, dict, set, deque)
Key = tuple[str, str]  # kind (parameter, buffer, attribute) and name


@dataclass(frozen=True)
class Change:
    """A parameter, buffer or attribute that forward() changed: ``path`` is the module's qualified name, ``kind`` its class."""

    path: str
    kind: str
    what: str
    name: str

    def __str__(self) -> str:
        return f"{self.path or 'the network'} ({self.kind}) changes its {self.what} {self.name}"


class State:
    """All tensors, plain values and containers that modules hold, copied: it takes the size of the parameters.

    Objects of other classes are not looked into.
    """

    def __init__(self, model: nn.Module) -> None:
        self.held = [(path, module, {k: (v, _copied(v)) for k, v in _holds(module).items()}) for path, module in model.named_modules()]

    def changes(self) -> tuple[Change, ...]:
        """What isn't as it was when this was made."""
        return tuple(Change(path, type(module).__name__, *key) for path, module, before in self.held for key in _changed(module, before))

    def put_back(self) -> None:
        """Make all that changed as it was, in the same objects."""
        for _, module, before in self.held:
            for kind, name in _changed(module, before):
                places: dict[str, dict[str, Any]] = {"buffer": module._buffers, "parameter": module._parameters}
                place = places.get(kind, module.__dict__)
                if (kind, name) in before:
                    place[name] = _restored(*before[kind, name])
                else:
                    del place[name]


def _holds(module: nn.Module) -> dict[Key, Any]:
    own = {("attribute", k): v for k, v in vars(module).items() if k not in BOOKKEEPING and isinstance(v, (Tensor, *PLAIN, *CONTAINERS))}
    return own | {("buffer", k): v for k, v in module._buffers.items()} | {("parameter", k): v for k, v in module._parameters.items()}


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone()
    return copy.copy(value) if isinstance(value, CONTAINERS) else value


def _restored(value: Any, saved: Any) -> Any:
    if isinstance(value, Tensor):
        if value.shape == saved.shape and value.dtype == saved.dtype:
            value.data.copy_(saved)  # in place: other names of the same memory see it too
        else:
            value.data = saved
    elif isinstance(value, list | deque):
        value.clear()
        value.extend(saved)
    elif isinstance(value, dict | set):
        value.clear()
        value.update(saved)
    return value


def _changed(module: nn.Module, before: dict[Key, tuple[Any, Any]]) -> list[Key]:
    now = _holds(module)
    return [key for key in {**before, **now} if key not in before or key not in now or not _same(before[key][1], now[key])]


def _same(saved: Any, value: Any) -> bool:
    """Containers are the same with the same objects inside."""
    if isinstance(saved, Tensor) or isinstance(value, Tensor):
        return isinstance(saved, Tensor) and isinstance(value, Tensor) and close(saved, value)
    if isinstance(saved, list | dict | set | deque):
        if type(saved) is not type(value) or len(saved) != len(value):
            return False
        if isinstance(saved, dict) and isinstance(value, dict):
            return all(key in value and value[key] is kept for key, kept in saved.items())
        return all(a is b for a, b in zip(saved, value, strict=True))
    return bool(saved == value or (saved != saved and value != value))


def close(a: Tensor, b: Tensor, share: float = 0.0) -> bool:
    """Whether all values are alike within ``share`` of the largest; NaN is like NaN."""
    a, b = a.detach(), b.detach()
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if not (share and a.is_floating_point() and a.numel()):
        return bool(((a == b) | ((a != a) & (b != b))).all())
    return torch.allclose(a, b, rtol=0.0, atol=share * float(a.abs().nan_to_num(0.0, 0.0).max()), equal_nan=True)
