"""The fake-quantised run of a graph on the grid: in float, on the values that the integer run has, with gradients for what is learnt."""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import inf, log

import torch
from torch import Tensor

from edgelr.graph import Graph, Node
from edgelr.graph.arithmetic import WEIGHT_MAX, f32, weight_scales
from edgelr.graph.ops import NO_CLAMP, Weighted
from edgelr.graph.ops.recurrent import Recurrent
from edgelr.quantization import Quantized
from edgelr.quantization.grids import tied_groups
from edgelr.quantization.ties import tied_weights
from edgelr.training.learnt import Learnt, LearntRecurrent, LearntWeighted
from edgelr.training.lsq import fake_quantize


class FakeQuantized:
    """Runs a ``Quantized`` in float on its grid; ``learnt`` by node and ``growths`` by group of tied values are its parameters.

    Zero points are fixed. A grid that a runtime fixes or that must hold a constant (a padding's value) is not learnt, and none grows
    beyond its operations' bounds: its saturation is the bound. Weights that several nodes have in common, up to gains that stay, are
    learnt once.
    """

    def __init__(self, q: Quantized) -> None:
        self.q = q
        self.weight_max = max((int(w.weight.abs().max()) for w in q.weights.values()), default=0) or WEIGHT_MAX
        floats = {v for v in q.graph.shapes if v not in q.grids}
        self.groups = tied_groups(q.graph, floats)
        self.growths = {g: torch.zeros((), requires_grad=True) for g in _learnable(q.graph, self.groups)}
        self.most = _most_growth(q, self.groups)
        self.learnt: dict[str, Learnt] = {n.name: self._weighted(n, n.op) for n in q.graph.nodes if isinstance(n.op, Weighted)}
        for names, gains in tied_weights(q.graph):
            lead, *others = (self._weighted_of(n) for n in names)
            alike = zip(names[1:], others, gains[1:], strict=True)
            self.learnt |= {n: other.following(lead, gain) for n, other, gain in alike if other.numbers == lead.numbers}
        self.learnt |= {n.name: LearntRecurrent.of(n.op, q.numbers(n.name)) for n in q.graph.nodes if isinstance(n.op, Recurrent)}
        # the integer run bounds by saturation alone, and so does this one
        self._ops = {n.name: replace(n.op, clamp=NO_CLAMP) if n.name in q.grids and n.op.clamp != NO_CLAMP else n.op  # type: ignore[type-var]
                     for n in q.graph.nodes}

    def _weighted(self, node: Node, op: Weighted) -> LearntWeighted:
        q = self.q
        unit = q.weights[node.name].scale if node.name in q.weights else weight_scales(op.weight, torch.zeros_like(op.bias), 1.0)
        reals = max(float(op.bias.detach().abs().max()) / WEIGHT_MAX, float(unit.max()))
        plain = replace(op, clamp=NO_CLAMP) if node.name in q.grids else op  # type: ignore[type-var]
        bias_unit = q.grids[node.name].scale if node.name in q.grids else reals
        return LearntWeighted.of(plain, q.numbers(node.name), self.weight_max, unit, bias_unit)

    def _weighted_of(self, name: str) -> LearntWeighted:
        found = self.learnt[name]
        assert isinstance(found, LearntWeighted)
        return found

    def scale(self, value: str) -> Tensor:
        """The scale of a value's grid: 0-d float32, differentiable where it is learnt."""
        scale, group = f32(self.q.grids[value].scale), self.groups[value]
        return scale * self.growths[group].exp() if group in self.growths else scale

    def __call__(self, x: Tensor) -> Tensor:
        """The output in real numbers [batch, ...], of real inputs."""
        graph = self.q.graph
        scales = {group: self.scale(group) for group in set(self.groups.values())}
        last = {value: node.name for node in graph.nodes for value in node.inputs}

        def on_grid(value: str, result: Tensor) -> Tensor:
            if value not in self.q.grids:
                return result
            return fake_quantize(result, scales[self.groups[value]], self.q.grids[value].zero_point)

        values = {graph.input: on_grid(graph.input, x)}
        for node in graph.nodes:
            op = self.learnt[node.name].running() if node.name in self.learnt else self._ops[node.name]
            result = op.run(*(values[i] for i in node.inputs))
            moved = op.tied and op.range() in (None, (0.0, 0.0))  # such values are on the grid already
            values[node.name] = result if moved else on_grid(node.name, result)
            for value in set(node.inputs):
                if last[value] == node.name and value != graph.output:
                    del values[value]
        return values[graph.output]

    def weights(self) -> list[Tensor]:
        """What moves in steps of a grid: weights and biases."""
        return _once(p for w in self.learnt.values() for p in w.moving())

    def scales(self) -> list[Tensor]:
        """Logarithms of scales, of values and of weights."""
        return _once([*self.growths.values(), *(w.growth for w in self.on_grid().values())])

    def on_grid(self) -> dict[str, LearntWeighted]:
        """What has integer weights of learnt scales."""
        return {name: w for name, w in self.learnt.items() if isinstance(w, LearntWeighted) and w.numbers == "int8"}

    def keep_bounds(self) -> None:
        """Take scales back that grew beyond a bound. Call after each step."""
        with torch.no_grad():
            for group, growth in self.growths.items():
                growth.clamp_(max=self.most[group])


def _once(tensors: Iterable[Tensor]) -> list[Tensor]:
    return list({id(t): t for t in tensors}.values())


def _learnable(graph: Graph, groups: Mapping[str, str]) -> list[str]:
    fixed = {groups[n.name] for n in graph.nodes if n.name in groups and (n.op.fixed is not None or n.op.range() not in (None, (0.0, 0.0)))}
    return sorted(set(groups.values()) - fixed)


def _most_growth(q: Quantized, groups: Mapping[str, str]) -> dict[str, float]:
    """The logarithm by which each group's scale may grow before its grid passes a bound."""
    most = dict.fromkeys(groups.values(), inf)
    for node in q.graph.nodes:
        if node.name in groups and node.name not in q.kept:
            grid, (low, high) = q.grids[node.name], node.op.clamp
            for bound, end in ((low, grid.low), (high, grid.high)):
                if bound not in (-inf, inf) and end != 0 and bound / end > 0:
                    most[groups[node.name]] = min(most[groups[node.name]], max(0.0, log(bound / end)))
    return most
