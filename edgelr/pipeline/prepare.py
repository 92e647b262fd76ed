"""Everything a search needs, made once: decompositions, sizes, prices, and what each choice does to the outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from edgelr.data import Data, Split
from edgelr.devices import Target
from edgelr.errors import UsageError
from edgelr.factorize import choice_cost, named_layers, stored_twice
from edgelr.graph.recurrent import layers
from edgelr.latency import Machine
from edgelr.models import found_groups, given_groups
from edgelr.models.groups import Groups
from edgelr.pipeline import budgets as budget_rules
from edgelr.pipeline import candidates
from edgelr.pipeline.files import draft
from edgelr.pipeline.fit import Fitting
from edgelr.pipeline.log import Log
from edgelr.pipeline.precision import Precision
from edgelr.pipeline.pricing import priced
from edgelr.pipeline.scorer import GraphScorer
from edgelr.pipeline.search import Searcher, affordable_samples
from edgelr.pipeline.settings import Settings
from edgelr.pipeline.sizes import sizes
from edgelr.pipeline.source import Source, first, gathered
from edgelr.vocabulary import DENSE, Choice, Format, Layer, Plan

Options = Mapping[str, tuple[Choice, ...]]


@dataclass(frozen=True)
class Prepared:
    """A search ready to run, and for layers without candidates why they have none."""

    fitting: Fitting
    why: Mapping[str, str]


def prepare(
    settings: Settings,
    source: Source,
    data: Data,
    factors: candidates.Factors,
    dense_files: Mapping[Format, bytes],
    target: Target,
    machine: Machine,
    precision: Precision,
    log: Log,
    together: bool = False,
) -> Prepared:
    """Decompose, price and measure every candidate; ``together``: with a row for each group of layers in the place of its layers'.

    Raises UsageError where the budget is on a cost that is not known.
    """
    runtimes = list(machine.runtimes.values())
    kinds = sorted({n for b in settings.budgets for n in budget_rules.cost_names(b, runtimes, settings.formats)})
    if source.macs is None and "macs" in kinds:
        raise UsageError("the network's MACs are not known", "; ".join(source.warnings), "give another budget: ms, KB or params")
    calibration = data.calibration
    assert calibration is not None
    steps = max(target.rank_steps[r] for r in target.runtimes if r in runtimes)
    with log.stage("factorize"):
        able, why, factors.factors = candidates.factorisable(source.layers, source.graph, source.folded)
        groups = grouped(settings, source, able, factors) if together else {}
        factors.grouped.groups.update(groups)
        inside = {name for members in groups.values() for name in members}
        free = [w for w in able if w.name not in inside]
        options = candidates.choices(free, settings.alone, steps, kinds)
        options |= candidates.grouped_choices(able, groups, settings.together, steps, kinds)
        taken = {member for name in options for member in factors.grouped.members(name)}
        no_rank = f"no rank on this target's steps of {steps} costs less than dense"
        why |= {w.name: no_rank if w.name in inside or settings.alone else "in no group of layers of equal shape" for w in able
                if w.name not in taken}  # fmt: skip
        log.say(f"{len(options)} of {len(source.layers)} layers have candidates: {sum(map(len, options.values()))} choices; decomposing")
        factors.prepare(
            [w for w in able if w.name in taken],
            settings.alone,
            lambda: list(first(calibration, settings.calibration_samples)),
            taken & inside,
        )
        # What recurrent layers weigh depends on their spelling, and the dense files may have another than is planned with.
        whole = draft(source.graph, settings.formats, precision) if layers(source.graph) else dense_files
        bytes_of = sizes(source.graph, options, factors, settings.formats, precision)
    with log.stage("price"):
        needed = not settings.allow_slower or any(k.startswith("us:") for k in kinds)
        prices = priced(source, options, factors, settings, machine, precision, dense_files, log) if needed else {}
    dense_costs = {
        "params": float(source.params),
        "macs": float(source.macs or 0),
        **{f"bytes:{f}": float(len(d)) for f, d in dense_files.items()},
        **{f"us:{r}": p.predicted_us(Plan(), options) for r, p in prices.items()},
    }
    limits = budget_rules.limits(settings.budgets, dense_costs, runtimes, settings.formats)
    relative = budget_rules.limits(
        [b for b in settings.budgets if b.relative and b.kind == "latency"], dense_costs, runtimes, settings.formats
    )
    searcher = searcher_of(settings, source, data.validation or calibration, factors)
    fitting = Fitting(
        source,
        able,
        options,
        factors,
        searcher,
        limits,
        base_costs(source, options, bytes_of, {f: len(d) for f, d in whole.items()}, groups),
        bytes_of,
        prices,
        dict(dense_files),
        machine,
        not settings.allow_slower,
        {k: v / dense_costs[k] for k, v in relative.items()},
        precision,
        settings.seed,
        log.say,
    )
    fitting.check(fitting.table(), fitting.working_limits(), fitting.bases())  # before any search: can the budget be met at all?
    with log.stage("sensitivity"):
        log.say(f"measuring what each choice does to the outputs of {searcher.scorer.n} held-out samples")
        searcher.prepare(options)
    return Prepared(fitting, why)


def searcher_of(settings: Settings, source: Source, split: Split, factors: candidates.Factors) -> Searcher:
    """The search's scorer on held-out samples."""
    macs = source.macs or source.params
    x, y = gathered(split, affordable_samples(settings.score_samples, macs))
    scorer = GraphScorer(
        source.graph, x, None if settings.metric == "agreement" else y, factors.product, groups=dict(factors.grouped.groups)
    )
    if settings.max_loss is None:
        return Searcher(settings.method, scorer, factors, macs)
    scorer.divergence_weight = 0.0  # a loss in points is one of accuracy alone
    return Searcher(settings.method, scorer, factors, macs, max_loss=settings.max_loss / 100)


def grouped(settings: Settings, source: Source, able: Sequence[Layer], factors: candidates.Factors) -> Groups:
    """The groups of layers that share factors: given, or found. Raises UsageError where a given one is none."""
    modules, names = named_layers(source.folded), [w.name for w in able]
    groups = given_groups(modules, names, settings.groups) if settings.groups else found_groups(modules, names)
    # what is multiplied into a weight behind a hard-swish must be the same in all layers that have it in common
    return {g: m for g, m in groups.items() if len({round(factors.factors.get(n, 1.0), 9) for n in m}) == 1}


def base_costs(
    source: Source,
    options: Options,
    sizes: Mapping[tuple[str, Choice], Mapping[Format, int]],
    dense_bytes: Mapping[Format, int],
    groups: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
) -> dict[str, float]:
    """What everything outside the candidates' layers costs: counted."""
    whole = counted_costs(source, Plan())
    by_name = {layer.name: layer for layer in source.layers}
    inside = [choice_cost(by_name[member], DENSE) for name in options for member in groups.get(name, (name,))]
    base = {"params": whole["params"] - sum(p for p, _ in inside), "macs": whole["macs"] - sum(m for _, m in inside)}
    return base | {f"bytes:{f}": float(size - sum(sizes[n, DENSE][f] for n in options)) for f, size in dense_bytes.items()}


def counted_costs(source: Source, plan: Plan) -> dict[str, float]:
    """Parameters and MACs of the folded network under a plan, told by layers: counted by closed form, what layers share once."""
    totals = {"params": 0.0, "macs": 0.0}
    for layer in source.layers:
        choice = plan[layer.name]
        params, macs = choice_cost(layer, choice) if choice != DENSE else (layer.params, layer.macs or 0)
        totals["params"] += params
        totals["macs"] += macs
    totals["params"] -= stored_twice({layer.name: layer for layer in source.layers}, plan)
    return totals
