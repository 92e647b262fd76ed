"""Every layer's candidates: which choices it has, what they cost, and what they do to the network's output."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from statistics import fmean
from types import MappingProxyType

import torch
from torch import Tensor, nn

from edgelr.factorize import (
    Decomposition,
    Gates,
    break_even_rank,
    collect_moments,
    decompose,
    group_cost,
    max_rank,
    moments_size_bytes,
    named_layers,
)
from edgelr.factorize.matrices import matrix_sides
from edgelr.graph import Graph
from edgelr.graph.ops import Conv, Linear
from edgelr.graph.ops.recurrent import Recurrent
from edgelr.graph.splice import Halves, matrix_of, place_of
from edgelr.pipeline.gate_moments import collect_gate_moments
from edgelr.pipeline.group_factors import GroupFactors, shared_choices
from edgelr.pipeline.source import BATCH, Source
from edgelr.ranks import Table, rank_candidates
from edgelr.vocabulary import DENSE, Candidate, Choice, Layer, Scheme, Share

COUNT_MAX = 10  # candidates of one scheme and layer: enough for steps of a tenth
GATE_STEPS = 4  # floats in a register: gate matrices stay out of the integer kernels that a target's steps are of
SPATIAL_MOMENTS_MAX_BYTES = 8 * 2304 * 2305  # 256 channels of 3x3: its refit takes 6 s, and eight times that for 512 channels
MOMENTS_MACS = 1e12  # gathering moments takes rows * size^2 of each layer's patches: about a minute of one core in float64
MOMENTS_ROWS = 4096  # of a batch, for each layer
MOMENTS_MAX_BYTES = 1 << 30  # a layer whose second moment is larger is split by its weight alone


@dataclass
class Factors:
    """The decompositions of a network's layers, each made once and cut at every rank."""

    source: Source
    aware: bool = True
    factors: dict[str, float] = field(default_factory=dict)  # on the first half of a layer's pair, see ``factorisable``
    _made: dict[tuple[str, Scheme], Decomposition] = field(default_factory=dict)
    _products: dict[tuple[str, Choice], tuple[Tensor, Tensor]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.grouped = GroupFactors(self.source)

    def prepare(
        self,
        layers: Sequence[Layer],
        schemes: Sequence[Scheme],
        batches: Callable[[], Sequence[Tensor]],
        together: Collection[str] = (),
    ) -> None:
        """One SVD for each layer and scheme, aware of the calibration inputs where memory allows it.

        ``together`` are layers of groups, whose inputs' moments are kept: they are decomposed at a shared choice's first use.
        """
        modules = named_layers(self.source.folded)
        wanted = [w for w in layers if any(s in schemes and (w.name, s) not in self._made for s in w.schemes)]
        kept = {n for n in together if n not in self.grouped.moments and moments_size_bytes(modules[n]) <= SPATIAL_MOMENTS_MAX_BYTES}
        extra = [w for w in layers if w.name in kept and w not in wanted]
        small = [w.name for w in (*wanted, *extra) if self.aware and moments_size_bytes(modules[w.name]) <= MOMENTS_MAX_BYTES]
        enough = affordable_batches([w for w in (*wanted, *extra) if w.name in small])
        data = batches()[:enough] if small else []
        gates = {name: module for name in small if isinstance(module := modules[name], Gates)}
        modular = [name for name in small if name not in gates]
        moments = collect_moments(self.source.folded, modular, data, MOMENTS_ROWS) if modular else {}
        moments |= collect_gate_moments(self.source.graph, gates, data, MOMENTS_ROWS)
        self.grouped.moments |= {n: moments[n] for n in kept if n in moments}
        for layer in wanted:
            for scheme in layer.schemes:
                if scheme in schemes:
                    large = scheme == "spatial" and moments_size_bytes(modules[layer.name]) > SPATIAL_MOMENTS_MAX_BYTES
                    self._made[layer.name, scheme] = decompose(modules[layer.name], scheme, None if large else moments.get(layer.name))

    @property
    def decompositions(self) -> Mapping[tuple[str, Scheme], Decomposition]:
        return self._made

    def error(self, layer: str, choice: Choice) -> float:
        """Relative output error of the layer alone (0 for dense); of a group the mean of its layers'."""
        if choice.rank is None:
            return 0.0
        if choice.share is None:
            return self._made[layer, choice.scheme].error(choice.rank)
        group, left = self.grouped.of(choice), choice.share.left_rank
        return fmean(group.error(member, choice.rank, left) for member in self.grouped.members(layer))

    def halves(self, layer: str, choice: Choice) -> Halves:
        assert choice.rank is not None and choice.scheme != "dense"
        if choice.share is not None:
            return self._shared_halves(layer, choice)
        first, second, bias = self._made[layer, choice.scheme].weights(choice.rank)
        bias = torch.zeros(second.shape[0]) if bias is None else bias
        return Halves(choice.scheme, first * self.factors.get(layer, 1.0), second, bias)

    def _shared_halves(self, layer: str, choice: Choice) -> Halves:
        assert choice.rank is not None and choice.share is not None and choice.scheme != "dense"
        pairs, bias = self.grouped.of(choice).pairs(layer, choice.rank, choice.share.left_rank)
        zeros = torch.zeros(pairs[0].second.shape[0])
        made: Halves | None = None
        for pair, own in reversed(list(zip(pairs, (zeros if bias is None else bias, zeros), strict=False))):
            made = Halves(choice.scheme, pair.first * self.factors.get(layer, 1.0), pair.second, own, made)
        assert made is not None
        return made

    def product(self, layer: str, choice: Choice) -> tuple[Tensor, Tensor]:
        """Dense weight and bias that the choice amounts to."""
        if (layer, choice) not in self._products:
            assert choice.rank is not None
            if choice.share is None:
                weight, bias = self._made[layer, choice.scheme].product(choice.rank)
            else:
                weight, bias = self.grouped.of(choice).product(layer, choice.rank, choice.share.left_rank)
            weight = weight.detach() * self.factors.get(layer, 1.0)
            self._products[layer, choice] = weight, torch.zeros(weight.shape[0]) if bias is None else bias.detach()
        return self._products[layer, choice]


def affordable_batches(layers: Sequence[Layer]) -> int:
    """How many batches the moments of these layers are gathered from: as many as ``MOMENTS_MACS`` allow, one at least."""
    each = 0.0
    for layer in layers:
        channels_first = layer.kind not in ("linear", "recurrent")
        rows = min(MOMENTS_ROWS, BATCH * prod(layer.out_shape[1:] if channels_first else layer.out_shape[:-1]))
        each += rows * (1 if layer.kind == "recurrent" else layer.groups) * (prod(layer.weight_shape[1:])) ** 2
    return max(1, int(MOMENTS_MACS / max(each, 1.0)))


def factorisable(layers: Sequence[Layer], graph: Graph, folded: nn.Module) -> tuple[list[Layer], dict[str, str], dict[str, float]]:
    """The layers whose operation in the graph holds their weight, for the others why not, and the factors on those weights.

    A hard-swish leaves its 1/6 to the weights behind it: such a layer is factorised as it is, its pair multiplied afterwards.
    """
    modules = named_layers(folded)
    able, why, factors = [], {}, {}
    for layer in layers:
        place = place_of(graph, layer.name)
        op = None if place is None else graph.node(place.node).op
        if not layer.schemes:
            why[layer.name] = layer.reason
        elif place is None or not isinstance(op, Conv | Linear | Recurrent):
            why[layer.name] = "its operation is not in the captured graph under its name"
        elif (factor := _factor(*_weight_of(op, place.part), modules[layer.name])) is None:
            why[layer.name] = "the activation behind it is part of its weights"
        else:
            able.append(layer)
            factors[layer.name] = factor
    return able, why, factors


def _weight_of(op: Conv | Linear | Recurrent, part: str) -> tuple[Tensor, Tensor]:
    if isinstance(op, Recurrent):
        matrix, bias = matrix_of(op, part)
        return matrix.dense(), bias
    return op.weight, op.bias


def _factor(held: Tensor, held_bias: Tensor, module: nn.Module) -> float | None:
    """The number by which an operation's weight is its module's; None if it isn't by one number, or the bias isn't the same."""
    weight, bias = module.weight, module.bias
    assert isinstance(weight, Tensor)
    weight = weight.detach()
    at = int(weight.abs().argmax())
    factor = float(held.flatten()[at] / weight.flatten()[at]) if float(weight.abs().max()) else 1.0
    own = torch.zeros_like(held_bias) if bias is None else bias
    same = torch.allclose(held, weight * factor, rtol=1e-5, atol=1e-12) and torch.equal(held_bias, own)  # type: ignore[arg-type]
    return factor if same else None


def choices(
    layers: Sequence[Layer], schemes: Sequence[Scheme], steps: int, kinds: Sequence[str], count_max: int = COUNT_MAX
) -> dict[str, tuple[Choice, ...]]:
    """Factorised choices of each layer on the target's rank steps, below break-even for what is budgeted.

    A latency budget breaks even in MACs at the latest: more MACs in two operations are never faster than fewer in one.
    """
    result = {}
    for layer in layers:
        found: list[Choice] = []
        for scheme in (s for s in schemes if s in layer.schemes):
            limits = []
            if any(k == "params" or k.startswith("bytes") for k in kinds):
                limits.append(break_even_rank(layer, scheme, "params"))
            if any(k == "macs" or k.startswith("us") for k in kinds):
                limits.append(break_even_rank(layer, scheme, "macs"))
            break_even = max(limits) if limits else break_even_rank(layer, scheme, "params")
            full = min(layer.weight_shape[0], max(break_even, 1)) if scheme == "channel" else max(break_even, 1)
            own = min(steps, GATE_STEPS) if layer.kind == "recurrent" else steps
            found += [Choice(scheme, r) for r in rank_candidates(full, own, break_even, count_max)]
        if found:
            result[layer.name] = tuple(found)
    return result


def grouped_choices(
    layers: Sequence[Layer],
    groups: Mapping[str, tuple[str, ...]],
    schemes: Sequence[Scheme],
    steps: int,
    kinds: Sequence[str],
    count_max: int = COUNT_MAX,
) -> dict[str, tuple[Choice, ...]]:
    """Shared choices of each group, on the target's rank steps: a common factor is stored once, so that bytes break even at higher ranks
    than alone, and MACs where they do alone."""
    by_name = {layer.name: layer for layer in layers}
    result = {}
    for group, names in groups.items():
        members = tuple(by_name[name] for name in names)
        found: list[Choice] = []
        for scheme in (s for s in schemes if all(s in m.schemes for m in members)):
            first = members[0]
            full = max_rank(first.weight_shape, scheme, first.groups)
            limits = []
            if any(k == "params" or k.startswith("bytes") for k in kinds):
                each = [group_cost(members, Choice(scheme, r, Share(group, "left")))[0] for r in (1, 2)]
                dense = group_cost(members, DENSE)[0] - (2 * each[0] - each[1])  # less the biases
                limits.append(min(full, (dense - 1) // (each[1] - each[0])))
            if not limits or any(k == "macs" or k.startswith("us") for k in kinds):
                limits.append(break_even_rank(first, scheme, "macs"))
            break_even = max(limits)
            rows = matrix_sides(first.weight_shape, scheme, first.groups)[0]
            ranks = rank_candidates(min(full, max(break_even, 1)), steps, break_even, count_max)
            found += [c for r in ranks for c in shared_choices(group, Choice(scheme, r), rows)]
        if found:
            result[group] = tuple(found)
    return result


def table(
    layers: Sequence[Layer],
    options: Mapping[str, tuple[Choice, ...]],
    costs: Callable[[str, Choice], Mapping[str, float]],
    error: Callable[[str, Choice], float],
    groups: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
) -> Table:
    """The search's table: dense first, then every option with its costs and its additive error. A group has one row for all its layers."""
    by_name = {layer.name: layer for layer in layers}
    result = {}
    for name, found in options.items():
        rows = []
        for choice in (DENSE, *found):
            params, macs = group_cost(tuple(by_name[member] for member in groups.get(name, (name,))), choice)
            prices = {"params": float(params), "macs": float(macs), **costs(name, choice)}
            rows.append(Candidate(choice, prices, 0.0 if choice == DENSE else error(name, choice)))
        result[name] = tuple(rows)
    return result
