"""In-network prices of every choice, also where one operation holds several layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from types import MappingProxyType

from edgelr.errors import UnsupportedError
from edgelr.factorize import choice_cost, group_cost
from edgelr.graph import Graph
from edgelr.graph.splice import place_of
from edgelr.latency import Machine, Prices, price, variants
from edgelr.pipeline import files
from edgelr.pipeline.candidates import Factors
from edgelr.pipeline.log import Log
from edgelr.pipeline.precision import Precision
from edgelr.pipeline.settings import Settings
from edgelr.pipeline.source import Source
from edgelr.vocabulary import DENSE, Choice, Format, Layer, Plan

Options = Mapping[str, tuple[Choice, ...]]


def priced(
    source: Source,
    options: Options,
    factors: Factors,
    settings: Settings,
    machine: Machine,
    precision: Precision,
    dense_files: Mapping[Format, bytes],
    log: Log,
) -> dict[str, Prices]:
    """In-network prices in each runtime, from variants of the whole network. Where recurrent layers may be spelled otherwise in a plan
    than in the dense network, the dense prices are those of ``dense_files``."""
    plans = variants(options)
    written = {plan: files.draft(files.planned(source.graph, plan, factors), settings.formats, precision) for plan in plans}
    held = layers_of_operations(source.graph, options)
    if held:
        written[plans[0]] = dict(dense_files)
    renamed = {plan: by_operation(plan, held, k) for k, plan in enumerate(plans)}
    operations = {node: tuple(sorted({renamed[p][node] for p in plans} - {DENSE})) for node in held}
    prices = {}
    for format, runtime in machine.runtimes.items():
        log.say(f"pricing {len(plans)} variants of the whole network in {runtime}")
        by_plan = {p: w[format] for p, w in written.items()}
        try:
            found = price(
                {renamed[p]: data for p, data in by_plan.items()},
                {n: c for n, c in options.items() if not any(n in names for names in held.values())} | operations,
                format=format,
                machine=machine,
                seed=settings.seed,
                groups=factors.grouped.groups,
            )
            prices[runtime] = shared_out(found, renamed, held, source.layers)
        except UnsupportedError as error:
            if not held:
                raise
            log.say(f"{error.what} Whole files are timed instead")
            prices[runtime] = priced_whole(by_plan, format, source, options, machine, settings.seed, factors.grouped.groups)
    return prices


def priced_whole(
    files: Mapping[Plan, bytes],
    format: Format,
    source: Source,
    options: Options,
    machine: Machine,
    seed: int,
    groups: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
) -> Prices:
    """Prices where a runtime can't time the operations of a loop: each variant's whole latency, divided among all layers by MACs."""
    named = {str(i): data for i, data in enumerate(files.values())}
    measured = machine.together(named, format, rounds=20, min_seconds=0.2, seed=seed)
    by_name = {layer.name: layer for layer in source.layers}
    members = {n: tuple(by_name[member] for member in groups.get(n, (n,))) for n in options}
    inside = {layer.name for layers in members.values() for layer in layers}
    fixed = sum(layer.macs or 0 for layer in source.layers if layer.name not in inside)
    base_us = measured["0"].median * 1e3 * fixed / max(1, source.macs or 1)
    seen: dict[tuple[str, Choice], list[float]] = {}
    for i, plan in enumerate(files):
        macs = {n: group_cost(members[n], plan[n])[1] for n in options}
        left = max(0.0, measured[str(i)].median * 1e3 - base_us)
        for n in options:
            if plan[n] != DENSE or not plan.factorised():
                seen.setdefault((n, plan[n]), []).append(left * macs[n] / max(1, sum(macs.values())))
    us = {key: fmean(values) for key, values in seen.items()}
    return Prices(machine.runtimes[format], machine.on, us, base_us, machine.how)


def layers_of_operations(graph: Graph, names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The layers that are matrices of one operation, by that operation's name."""
    held: dict[str, tuple[str, ...]] = {}
    for name in names:
        place = place_of(graph, name)
        if place is not None and place.part != "weight":
            held[place.node] = (*held.get(place.node, ()), name)
    return held


def by_operation(plan: Plan, held: Mapping[str, Sequence[str]], number: int) -> Plan:
    """The plan told by operations: one with factorised matrices has the choice number ``number``, whatever these are."""
    layers = {n: c for n, c in plan.choices.items() if not any(n in names for names in held.values())}
    changed = set(plan.factorised())
    return Plan(layers | {node: Choice("recurrent", number) if changed.intersection(names) else DENSE for node, names in held.items()})


def shared_out(prices: Prices, renamed: Mapping[Plan, Plan], held: Mapping[str, Sequence[str]], layers: Sequence[Layer]) -> Prices:
    """An operation's price in each variant, divided among its layers as their MACs are there; a choice in several variants has the mean.

    A layer's dense price is that in the dense network: beside factorised ones its operation may be spelled in another way.
    """
    by_name = {layer.name: layer for layer in layers}
    us = {key: value for key, value in prices.us.items() if key[0] not in held}
    seen: dict[tuple[str, Choice], list[float]] = {}
    for plan, told in renamed.items():
        for node, names in held.items():
            macs = {n: choice_cost(by_name[n], plan[n])[1] for n in names}
            for n in names:
                if plan[n] == DENSE != told[node]:
                    continue
                seen.setdefault((n, plan[n]), []).append(prices.us[node, told[node]] * macs[n] / max(1, sum(macs.values())))
    return replace(prices, us=us | {key: fmean(values) for key, values in seen.items()})
