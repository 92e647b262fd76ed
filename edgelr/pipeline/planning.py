"""Recurrent layers have two spellings, fused or as a loop: which one is planned with, and which one the finished plan gets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from torch import Tensor

from edgelr.devices import Target
from edgelr.errors import BudgetError, GateError
from edgelr.graph.recurrent import layers
from edgelr.pipeline.budgets import limits
from edgelr.pipeline.files import write
from edgelr.pipeline.forms import Tried, candidates, choose, dynamic_refused, some
from edgelr.pipeline.log import Log
from edgelr.pipeline.machine import Machine
from edgelr.pipeline.precision import Precision, Spelling
from edgelr.pipeline.prepare import Prepared
from edgelr.pipeline.produce import Product
from edgelr.pipeline.settings import Format, Settings
from edgelr.pipeline.source import Source


def spellings(precision: Precision, source: Source, settings: Settings) -> list[Precision]:
    """The precisions to plan with, in order: only a loop keeps factors apart, so it comes first where bytes count."""
    if not layers(source.graph):
        return [precision]
    order: list[Spelling] = ["loop", "fused"] if any(b.kind == "size" for b in settings.budgets) else ["fused", "loop"]
    return [replace(precision, forms={f: replace(form, recurrent=s) for f, form in precision.forms.items()}) for s in order]


def prepared_first(precisions: list[Precision], prepare: Callable[[Precision], Prepared], log: Log) -> tuple[Prepared, Precision]:
    """The first spelling with which the budgets can be met at all. Raises the first one's BudgetError or GateError where none can."""
    failed: list[BudgetError | GateError] = []
    for precision in precisions:
        try:
            return prepare(precision), precision
        except (BudgetError, GateError) as error:
            failed.append(error)
            log.say(f"{next(iter(precision.forms.values())).name}: {error.what}")
    raise failed[0]


def respelled(
    product: Product,
    precision: Precision,
    dense_files: Mapping[Format, bytes],
    source: Source,
    calibration: Iterable[Tensor],
    settings: Settings,
    machine: Machine,
    target: Target,
    log: Log,
) -> tuple[Product, Precision, tuple[Tried, ...]]:
    """A planned recurrent network in the fastest form that is exact enough and within the size budgets."""
    if not layers(product.graph) or not product.plan.factorised():
        return product, precision, ()
    sized = [b for b in settings.budgets if b.kind == "size"]
    dense = {f"bytes:{f}": float(len(d)) for f, d in dense_files.items()}
    most = {f: v for f in settings.formats for k, v in limits(sized, dense, [], settings.formats).items() if k == f"bytes:{f}"}
    forms = candidates(product.graph, settings.numbers, dynamic_refused(target, machine))
    precision, tried = choose(
        product.graph, product.ranges, some(calibration, source.macs), precision, forms, settings, machine, log, most
    )
    quantized = precision.quantized(product.graph, product.ranges, settings.formats)
    return replace(product, quantized=quantized, files=write(quantized)), precision, tried
