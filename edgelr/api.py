"""The Python calls, in the words of the command line. The pipeline is imported when it is called."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from edgelr.data import Data
from edgelr.vocabulary import Layer

if TYPE_CHECKING:
    from edgelr.report import Report


def compress(
    model: str | nn.Module,
    data: str | Data,
    *,
    budget: str | Sequence[str] = (),
    target: str = "host",
    out: str | Path = "",
    tell: Callable[[str], None] | None = None,
    **settings: Any,
) -> Report:
    """Compress a network to its budgets, or by ``method="rank-tuning"`` to the smallest that loses at most ``max_loss`` points.

    ``model``: an ``nn.Module`` with its weights, or its name (``FILE.py:FUNCTION`` …). ``data``: a ``Data``, or its name.
    ``budget``: one or several of ``"12ms"``, ``"400KB"``, ``"50%KB"``, ``"30MMAC"`` …. ``out``: the folder to write, "" for none.
    Other settings are those of ``edgelr.pipeline.Settings`` (method, schemes, formats, metric, calibration, train, epochs, time, seed …).

    Returns the report that report.json holds. Raises EdgelrError subclasses: what happened, why, what to try.

        report = edgelr.compress(net, data, budget="50%KB", out="out/")
        print(report.met, [a.bytes for a in report.artifacts])
    """
    from edgelr.errors import UsageError
    from edgelr.pipeline import parse_budget

    texts = [budget] if isinstance(budget, str) else list(budget)
    if not texts and settings.get("max_loss") is None:
        raise UsageError("there is no budget", "compress needs to know what to meet", 'budget="70%ms", or edgelr.quantize for dense int8')
    return _run(model, data, tell, target=target, out=str(out), budgets=tuple(parse_budget(t) for t in texts), **settings)


def quantize(
    model: str | nn.Module,
    data: str | Data,
    *,
    target: str = "host",
    out: str | Path = "",
    tell: Callable[[str], None] | None = None,
    **settings: Any,
) -> Report:
    """Dense int8 files of a network: ``compress`` without factorising anything."""
    return _run(model, data, tell, target=target, out=str(out), method="dense", **settings)


def _run(model: str | nn.Module, data: str | Data, tell: Callable[[str], None] | None, **settings: Any) -> Report:
    from edgelr.errors import UsageError
    from edgelr.pipeline import Settings
    from edgelr.pipeline import compress as journey

    named: dict[str, Any] = {"model": model} if isinstance(model, str) else {}
    named |= {"data": data} if isinstance(data, str) else {}
    try:
        chosen = Settings(**named, **settings)
    except TypeError as error:
        raise UsageError("unknown setting", str(error).rpartition("__init__() ")[2], "see edgelr.pipeline.Settings") from error
    given: dict[str, Any] = {"model": None if isinstance(model, str) else model, "data": None if isinstance(data, str) else data}
    return journey(chosen, tell=tell or (lambda text: None), **given)


def inspect(model: str | nn.Module, shape: Sequence[int]) -> tuple[Layer, ...]:
    """Every layer with parameters: kind, shapes, MACs, bytes, which schemes it can take, and why none. ``shape`` without batch."""
    import torch

    from edgelr.models import load_network, survey

    network = load_network(model) if isinstance(model, str) else model.eval()
    return survey(network, torch.zeros(2, *shape))


def load(out: str | Path, model: str | nn.Module) -> nn.Module:
    """The compressed float network of a finished run, as plain torch layers in eval mode (``edgelr.pipeline.load``)."""
    from edgelr.pipeline import load as read

    return read(out, model)
