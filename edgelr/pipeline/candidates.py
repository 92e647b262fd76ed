"""Every layer's candidates: which choices it has, what they cost, and what they do to the network's output."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

import torch
from torch import Tensor, nn

from edgelr.factorize import Decomposition, break_even_rank, choice_cost, collect_moments, decompose, moments_size_bytes
from edgelr.graph import Graph
from edgelr.graph.ops import Conv, Linear
from edgelr.graph.splice import Halves
from edgelr.pipeline.source import BATCH, Source
from edgelr.ranks import Table, rank_candidates
from edgelr.vocabulary import DENSE, Candidate, Choice, Layer, Scheme

COUNT_MAX = 10  # candidates of one scheme and layer: enough for steps of a tenth
SPATIAL_MOMENTS_MAX_BYTES = 8 * 2304 * 2305  # 256 channels of 3x3: its refit takes 6 s, and eight times that for 512 channels
MOMENTS_MACS = 1e12  # gathering moments takes rows * size^2 of each layer's patches: about a minute of one core in float64
MOMENTS_ROWS = 4096  # of a batch, for each layer
MOMENTS_MAX_BYTES = 1 << 30  # a layer whose second moment is larger is split by its weight alone


@dataclass
class Factors:
    """The decompositions of a network's layers, made once and cut at every rank."""

    source: Source
    aware: bool = True
    factors: dict[str, float] = field(default_factory=dict)  # on the first half of a layer's pair, see ``factorisable``
    _made: dict[tuple[str, Scheme], Decomposition] = field(default_factory=dict)
    _products: dict[tuple[str, Choice], tuple[Tensor, Tensor]] = field(default_factory=dict)

    def prepare(self, layers: Sequence[Layer], schemes: Sequence[Scheme], batches: Callable[[], Sequence[Tensor]]) -> None:
        """One SVD for each layer and scheme, aware of the calibration inputs where memory allows it."""
        modules = dict(self.source.folded.named_modules())
        wanted = [layer for layer in layers if set(layer.schemes) & set(schemes)]
        small = [w.name for w in wanted if self.aware and moments_size_bytes(modules[w.name]) <= MOMENTS_MAX_BYTES]
        enough = affordable_batches([w for w in wanted if w.name in small])
        moments = collect_moments(self.source.folded, small, batches()[:enough], MOMENTS_ROWS) if small else {}
        for layer in wanted:
            for scheme in layer.schemes:
                if scheme in schemes:
                    large = scheme == "spatial" and moments_size_bytes(modules[layer.name]) > SPATIAL_MOMENTS_MAX_BYTES
                    self._made[layer.name, scheme] = decompose(modules[layer.name], scheme, None if large else moments.get(layer.name))

    @property
    def decompositions(self) -> Mapping[tuple[str, Scheme], Decomposition]:
        return self._made

    def error(self, layer: str, choice: Choice) -> float:
        """Relative output error of the layer alone (0 for dense)."""
        return 0.0 if choice.rank is None else self._made[layer, choice.scheme].error(choice.rank)

    def halves(self, layer: str, choice: Choice) -> Halves:
        assert choice.rank is not None and choice.scheme != "dense"
        first, second = self._made[layer, choice.scheme].pair(choice.rank)
        weights = [m.weight.detach() for m in (first, second) if isinstance(m.weight, Tensor)]
        bias = second.bias.detach() if isinstance(second.bias, Tensor) else torch.zeros(weights[1].shape[0])
        return Halves(choice.scheme, weights[0] * self.factors.get(layer, 1.0), weights[1], bias)

    def product(self, layer: str, choice: Choice) -> tuple[Tensor, Tensor]:
        """Dense weight and bias that the choice amounts to."""
        if (layer, choice) not in self._products:
            assert choice.rank is not None
            weight, bias = self._made[layer, choice.scheme].product(choice.rank)
            weight = weight.detach() * self.factors.get(layer, 1.0)
            self._products[layer, choice] = weight, torch.zeros(weight.shape[0]) if bias is None else bias.detach()
        return self._products[layer, choice]


def affordable_batches(layers: Sequence[Layer]) -> int:
    """How many batches the moments of these layers are gathered from: as many as ``MOMENTS_MACS`` allow, one at least."""
    each = 0.0
    for layer in layers:
        rows = min(MOMENTS_ROWS, BATCH * (prod(layer.out_shape[1:]) if layer.kind != "linear" else prod(layer.out_shape[:-1])))
        each += rows * layer.groups * (prod(layer.weight_shape[1:])) ** 2
    return max(1, int(MOMENTS_MACS / max(each, 1.0)))


def factorisable(layers: Sequence[Layer], graph: Graph, folded: nn.Module) -> tuple[list[Layer], dict[str, str], dict[str, float]]:
    """The layers whose operation in the graph holds their weight, for the others why not, and the factors on those weights.

    A hard-swish leaves its 1/6 to the weights behind it: such a layer is factorised as it is, its pair multiplied afterwards.
    """
    modules, operations = dict(folded.named_modules()), {n.name: n.op for n in graph.nodes}
    able, why, factors = [], {}, {}
    for layer in layers:
        op = operations.get(layer.name)
        if not layer.schemes:
            why[layer.name] = layer.reason
        elif not isinstance(op, Conv | Linear):
            why[layer.name] = "its operation is not in the captured graph under its name"
        elif (factor := _factor(op, modules[layer.name])) is None:
            why[layer.name] = "the activation behind it is part of its weights"
        else:
            able.append(layer)
            factors[layer.name] = factor
    return able, why, factors


def _factor(op: Conv | Linear, module: nn.Module) -> float | None:
    """The number by which an operation's weight is its module's; None if it isn't by one number, or the bias isn't the same."""
    weight, bias = module.weight, module.bias
    assert isinstance(weight, Tensor)
    weight = weight.detach()
    at = int(weight.abs().argmax())
    factor = float(op.weight.flatten()[at] / weight.flatten()[at]) if float(weight.abs().max()) else 1.0
    own = torch.zeros_like(op.bias) if bias is None else bias
    same = torch.allclose(op.weight, weight * factor, rtol=1e-5, atol=1e-12) and torch.equal(op.bias, own)  # type: ignore[arg-type]
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
            found += [Choice(scheme, r) for r in rank_candidates(full, steps, break_even, count_max)]
        if found:
            result[layer.name] = tuple(found)
    return result


def table(
    layers: Sequence[Layer],
    options: Mapping[str, tuple[Choice, ...]],
    costs: Callable[[str, Choice], Mapping[str, float]],
    error: Callable[[str, Choice], float],
) -> Table:
    """The search's table: dense first, then every option with its costs and its additive error."""
    by_name = {layer.name: layer for layer in layers}
    result = {}
    for name, found in options.items():
        rows = []
        for choice in (DENSE, *found):
            params, macs = choice_cost(by_name[name], choice)
            prices = {"params": float(params), "macs": float(macs), **costs(name, choice)}
            rows.append(Candidate(choice, prices, 0.0 if choice == DENSE else error(name, choice)))
        result[name] = tuple(rows)
    return result
