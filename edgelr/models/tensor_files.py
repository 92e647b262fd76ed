"""Read named tensors from a weights file. Nothing here ever runs code from the file."""
from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgelr.errors import BadInputError
from edgelr.models.safetensors_header import check_header

EXPORT = "export a state dict: safetensors.torch.save_file(model.state_dict(), 'model.safetensors')"
NESTS = ("state_dict", "model_state_dict", "model")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a ``.safetensors`` file (preferred), or of a ``.pt`` / ``.pth`` state dict.

    A ``.pt`` is read by ``torch.load(weights_only=True)`` alone and never in another way after that refused. Of a checkpoint the part
    under "state_dict", "model_state_dict" or "model" is taken. Exported programs (``.pt2``), TorchScript and whole-module pickles are
    refused, since reading them can run code. Raises BadInputError.
    """
    if not path.is_file():
        raise BadInputError(f"no weights file {path}", "there is no such file", "check the path; it is read from the current folder")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix in (".pt", ".pth"):
        return _read_state_dict(path)
    why = "exported programs hold pickled parts" if path.suffix == ".pt2" else "weights are read from .safetensors, .pt and .pth files"
    raise BadInputError(f"{path.name} is not a weights file that is read here", why, EXPORT)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    check_header(path)
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise BadInputError(f"{path.name} is not a good safetensors file", str(error)[:300], EXPORT) from error


def _read_state_dict(path: Path) -> dict[str, Tensor]:
    _refuse_programs(path)
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise BadInputError(f"{path.name} holds more than tensors and is not opened", f"{_reason(error)}", EXPORT) from error
    except Exception as error:  # a damaged file fails in as many ways as there are bytes
        raise BadInputError(f"{path.name} can't be read", f"it is truncated, damaged or no state dict: {_reason(error)}", EXPORT) from error
    return _tensors(path, loaded)


def _refuse_programs(path: Path) -> None:
    try:
        if not zipfile.is_zipfile(path):
            return
        with zipfile.ZipFile(path) as file:
            names = file.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path.name} can't be read", f"its archive is damaged: {str(error)[:200]}", "copy the file again") from error
    program = [n for n in names if n.endswith(("archive_format", "serialized_exported_program.json", "constants.pkl")) or "/code/" in n]
    if program:
        raise BadInputError(f"{path.name} is a program, not weights", f"it holds {program[0]}: an exported program or TorchScript", EXPORT)


def _tensors(path: Path, loaded: Any) -> dict[str, Tensor]:
    for _ in NESTS:  # as deep as the names can nest
        inner = next((loaded[n] for n in NESTS if isinstance(loaded, Mapping) and isinstance(loaded.get(n), Mapping)), None)
        if inner is None:
            break
        loaded = inner
    if not isinstance(loaded, Mapping):
        raise BadInputError(f"{path.name} holds no state dict", f"it holds a {type(loaded).__name__}", EXPORT)
    odd = [str(n) for n, t in loaded.items() if not isinstance(t, Tensor) or not isinstance(n, str)]
    if odd:
        raise BadInputError(f"{path.name}: {odd[0]} is not a tensor", f"{len(odd)} of {len(loaded)} entries are not", EXPORT)
    return dict(loaded)


def _reason(error: Exception) -> str:
    """The first sentence; torch goes on to advise the unsafe way, which we don't pass on."""
    text = " ".join(str(error).split())
    if "weights_only=True" in text and "WeightsUnpickler" not in text:
        return "it is of a form that can't be opened without running code from it"
    for mark in ("WeightsUnpickler error:", "Unsupported"):
        if mark in text:
            return text[text.index(mark):].split(" Please ")[0].split(" was not an allowed")[0][:200]
    return text.split(". ")[0][:200] or type(error).__name__
