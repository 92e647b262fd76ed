"""edgelr inspect: every layer of a network, what it costs, and what it can become."""

from __future__ import annotations

import dataclasses
import json as jsonlib

from edgelr.cli import options as o
from edgelr.cli.render import answer
from edgelr.errors import UsageError
from edgelr.vocabulary import Layer


def inspect(
    model: o.Model, input: o.Input = "", data: o.Data = "", weights: o.Weights = "", recipe: o.Recipe = "", json: o.Json = False
) -> None:
    """List every layer with parameters: kind, shape, MACs, bytes, schemes, and why it can't be factorised where it can't."""
    from edgelr.data import read_data
    from edgelr.pipeline.source import input_shape, read_network
    from edgelr.pipeline.source import inspect as look

    if not input and not data:
        raise UsageError("the input's shape is not known", "layers are counted on a real run", "--input 1x3x224x224, or --data")
    settings = o.settings(model=model, input=input, data=data, weights=weights, recipe=recipe)
    name, network = read_network(settings)
    samples = read_data(data, recipe or None, settings.input_shape or None, 0) if data else None
    source = look(name, network, input_shape(settings, samples))
    if json:
        answer(
            jsonlib.dumps(
                {
                    "schema": 1,
                    "model": name,
                    "input": source.shape,
                    "params": source.params,
                    "macs": source.macs,
                    "layers": [dataclasses.asdict(layer) for layer in source.all_layers],
                },
                indent=1,
            )
        )
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{name}: {source.params:,} parameters, {told(source.macs)} MACs a sample", box=None, title_justify="left")
    for column, justify in (
        ("layer", "left"),
        ("kind", "left"),
        ("weight", "left"),
        ("params", "right"),
        ("MACs", "right"),
        ("can become, or why not", "left"),
    ):
        table.add_column(column, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for layer in source.all_layers:
        table.add_row(layer.name, layer.kind, "x".join(map(str, layer.weight_shape)), f"{layer.params:,}", told(layer.macs), can(layer))
    Console(highlight=False).print(table)


def told(macs: int | None) -> str:
    """A count, or that it is not known."""
    return "unknown" if macs is None else f"{macs:,}"


def can(layer: Layer) -> str:
    return ", ".join(layer.schemes) or layer.reason
