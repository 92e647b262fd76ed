"""The state of a training in one file, whole or not at all, from which it goes on to the same bytes as without a break."""
from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from edgelr.errors import BadInputError, UsageError

FORMAT = 1
SHOWN = 60  # characters of a setting in an error


@dataclass(frozen=True)
class Checkpoint:
    """Where a training is kept: written at the end of an epoch and every ``seconds`` within one, and at the end of all.

    ``of`` tells what besides the loop's own arguments the result depends on (teacher, data, settings, versions): a file that was written
    with other words is refused. The schedule, the starting weights and the first batch are compared without being named.
    """

    path: Path
    seconds: float = 60.0
    of: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Saved:
    """What a file holds: tensors by name, the numbers beside them, and what it is ``of``."""

    tensors: Mapping[str, Tensor]
    numbers: Mapping[str, Any]
    of: Mapping[str, str]


def write(path: Path, saved: Saved) -> None:
    """Write a file, which replaces the last one only when it is whole. Raises OSError (the disk is full)."""
    orders = {name: _order(t) for name, t in saved.tensors.items()}
    words = json.dumps({"format": FORMAT, "numbers": saved.numbers, "of": dict(saved.of), "orders": orders})
    copies = {name: t.detach().permute(orders[name]).clone(memory_format=torch.contiguous_format) for name, t in saved.tensors.items()}
    data = save(copies, {"edgelr": words})
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def read(path: Path, of: Mapping[str, str]) -> Saved | None:
    """The state in a file, None where there is none; no code in it is run.

    Raises BadInputError (can't be read), UsageError (it is of another training; says what differs).
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            words = json.loads(file.metadata()["edgelr"])
            if words["format"] != FORMAT:
                raise UsageError(f"the checkpoint {path} is of another version of edgelr", f"its format is {words['format']}, not {FORMAT}",
                                 "delete it to begin anew")
            tensors = {name: _laid(file.get_tensor(name), words["orders"][name]) for name in file.keys()}  # noqa: SIM118
            saved = Saved(tensors, words["numbers"], words["of"])
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise BadInputError(f"the checkpoint {path} can't be read", str(error) or type(error).__name__,
                            "delete it to begin training anew") from error
    differs = [f"{name} was {_short(saved.of.get(name))}, is {_short(of.get(name))}"
               for name in sorted({*of, *saved.of}) if of.get(name) != saved.of.get(name)]
    if differs:
        raise UsageError(f"the checkpoint {path} is of another training", "; ".join(differs),
                         "train with what it was begun with, or delete it to begin anew")
    return saved


def _order(t: Tensor) -> list[int]:
    """A tensor's axes as they lie in memory, which kernels add up along: other orders give other bits."""
    strides = t.stride()
    return sorted(range(t.dim()), key=lambda axis: (-strides[axis], axis))


def _laid(t: Tensor, order: list[int]) -> Tensor:
    return t.permute([order.index(axis) for axis in range(t.dim())])


def _short(word: str | None) -> str:
    return "not told" if word is None else word if len(word) <= SHOWN else f"{word[:SHOWN]}…"
