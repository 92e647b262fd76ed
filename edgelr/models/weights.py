"""Put a file's weights into a network: all of them, of the right shape, finite, or none."""
from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from edgelr.errors import BadInputError
from edgelr.models.depth import deep_enough
from edgelr.models.tensor_files import read_tensors

SHOWN = 5
COUNTER = "num_batches_tracked"  # batch norm's counter: training alone reads it, and older files don't have it


def load_weights(model: nn.Module, path: str | Path) -> nn.Module:
    """Copy the weights of a ``.safetensors`` or ``.pt`` / ``.pth`` file into ``model``; returns it.

    Of a checkpoint dict the part under "state_dict", "model_state_dict" or "model" is taken, and the prefix "module." that
    DataParallel writes is dropped where every name has it. Float16, bfloat16 and float64 are converted to float32. A tied weight may
    be stored once. ``num_batches_tracked`` may be absent or left over. Any other difference is an error, and then the network is as
    it was.

    Raises BadInputError: file missing, unsafe, truncated or malformed; tensors missing, left over, mis-shaped, of integers where
    reals belong, or holding NaN or infinity (first index and count).
    """
    path = Path(path)
    with deep_enough(model):
        own = model.state_dict(keep_vars=True)
        found = _without_prefix(read_tensors(path), own)
        _check_names(path, own, found)
        for name, value in found.items():
            if name in own:
                _check_tensor(path, name, own[name], value)
        _check_tied(path, own, found)
        with torch.no_grad():
            for name, value in found.items():
                if name in own:
                    own[name].copy_(value)
    return model


def _without_prefix(found: dict[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    if found and all(n.startswith("module.") for n in found) and not any(n.startswith("module.") for n in own):
        return {n.removeprefix("module."): t for n, t in found.items()}
    return found


def _check_names(path: Path, own: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    present = {id(own[n]) for n in found if n in own}
    missing = [n for n, t in own.items() if n not in found and id(t) not in present and not n.endswith(COUNTER)]
    extra = [n for n in found if n not in own and not n.endswith(COUNTER)]
    if missing or extra:
        parts = [f"missing: {_some(missing, own)}"] * bool(missing) + [f"not in the network: {_some(extra, found)}"] * bool(extra)
        raise BadInputError(f"{path.name} doesn't fit the network: {len(missing)} tensors missing, {len(extra)} left over",
                            "; ".join(parts), "load the weights into the network that they were saved from")


def _some(names: list[str], tensors: Mapping[str, Tensor]) -> str:
    shown = ", ".join(f"{n} {tuple(tensors[n].shape)}" for n in names[:SHOWN])
    return shown + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _check_tensor(path: Path, name: str, own: Tensor, value: Tensor) -> None:
    if own.shape != value.shape:
        raise BadInputError(f"{path.name}: {name} has the wrong shape", f"expected {tuple(own.shape)}, found {tuple(value.shape)}",
                            "build the network with the sizes (widths, classes) that it was trained with")
    if own.is_floating_point() and not value.is_floating_point():
        raise BadInputError(f"{path.name}: {name} holds {value.dtype} numbers", f"expected reals ({own.dtype})",
                            "give the float network; quantising it is done here")
    if not value.is_floating_point():
        return
    bad = ~torch.isfinite(value.to(own.dtype))
    if bad.any():
        count, index = int(bad.sum()), tuple(int(i) for i in torch.nonzero(bad)[0])
        raise BadInputError(f"{path.name}: {name} holds {float(value[index])}",
                            f"{count} of {value.numel()} values are not finite in float32, the first at index {index}",
                            "find the training step that diverged, and take an earlier checkpoint")


def _check_tied(path: Path, own: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    first: dict[int, str] = {}
    for name in (n for n in own if n in found):
        other = first.setdefault(id(own[name]), name)
        if other != name and not torch.equal(found[other], found[name]):
            raise BadInputError(f"{path.name}: {name} and {other} differ", "they are one tied weight in the network",
                                "untie them in the network, or save it again")
