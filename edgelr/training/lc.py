"""Learning-compression: training that draws weights to a low rank which is chosen as it goes (Idelbayev & Carreira-Perpinan, CVPR 2020)."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn

from edgelr.factorize import geometry_of, named_layers
from edgelr.ranks import Base, Limits, Table
from edgelr.ranks.learning_compression import c_step
from edgelr.training.method import Matrix
from edgelr.vocabulary import DENSE, Choice, Plan, Scheme


@dataclass(frozen=True)
class LcSettings:
    """``steps`` C steps, evenly spaced; the penalty's strength mu grows from ``first`` to ``last`` as a geometric series.

    mu multiplies half the squared distance of each weight from its low-rank copy, relative to the weight's own squared norm at the
    start: the same measure in both steps, so that they descend one objective (the authors' code measures them differently).
    ``multipliers``: the augmented Lagrangian; without, the quadratic penalty.
    """

    steps: int = 10
    first: float = 5.0
    last: float = 50.0
    multipliers: bool = True


@dataclass(eq=False)
class _Held:
    """A layer's weight, the squared norm it is measured by, its low-rank copy (None while it stays dense), and its multipliers."""

    weight: nn.Parameter
    groups: int
    norm: float
    target: Tensor | None
    multipliers: Tensor


class LearningCompression:
    """A ``Method`` that trains towards ``plan``, which each C step chooses anew among the candidates of ``table``.

    ``limits`` and ``base`` are the search's; costs are whatever the table prices: parameters, bytes, MACs, microseconds. The candidates'
    errors are those of the weights as they are trained. After ``finish`` each weight is its low-rank copy.
    """

    def __init__(self, net: nn.Module, table: Table, limits: Limits, base: Base, settings: LcSettings | None = None) -> None:
        self.table, self.limits, self.base, self.settings = table, limits, base, settings or LcSettings()
        layers = named_layers(net)
        self.plan = Plan()
        self.held: dict[str, _Held] = {}
        for name in table:
            weight = cast(nn.Parameter, layers[name].weight)
            norm = float(weight.detach().square().sum())
            zeros = torch.zeros_like(weight)
            self.held[name] = _Held(weight, geometry_of(layers[name]).groups, norm or 1.0, None, zeros)
        self.every, self.mu, self.done = 1, self.settings.first, 0

    def start(self, steps: int, optimizer: torch.optim.Optimizer) -> None:
        self.every = max(1, steps // self.settings.steps)
        self._c_step()

    def penalty(self) -> Tensor | None:
        each = [self.mu / 2 * (h.weight - h.target).square().sum() / h.norm for h in self.held.values() if h.target is not None]
        return torch.stack(each).sum() if each else None

    def after_step(self, step: int) -> None:
        if step % self.every == 0 and self.done < self.settings.steps:
            self._c_step()

    def finish(self) -> None:
        """The last C step, without multipliers: what is left is the truncation of the trained weights."""
        with torch.no_grad():
            for h in self.held.values():
                h.multipliers = torch.zeros_like(h.weight)
            copies = self._chosen()
            for name, copy in copies.items():
                self.held[name].weight.copy_(copy)

    def state(self) -> Mapping[str, Tensor]:
        found = {"mu": torch.tensor(self.mu, dtype=torch.float64), "done": torch.tensor(self.done)}
        for name, h in self.held.items():
            found |= {f"{name}.norm": torch.tensor(h.norm, dtype=torch.float64), f"{name}.multipliers": h.multipliers}
            if h.target is not None:
                found[f"{name}.target"] = h.target
        return found

    def load(self, state: Mapping[str, Tensor]) -> None:
        self.mu, self.done = float(state["mu"]), int(state["done"])
        for name, h in self.held.items():
            h.norm, h.multipliers, h.target = float(state[f"{name}.norm"]), state[f"{name}.multipliers"], state.get(f"{name}.target")

    @torch.no_grad()
    def _c_step(self) -> None:
        """Choose ranks for W - L / mu, then update the multipliers: L - mu (W - T), with the mu that the L step had."""
        s = self.settings
        copies = self._chosen()
        if s.multipliers and self.done:
            for name, copy in copies.items():
                h = self.held[name]
                h.multipliers = h.multipliers - self.mu * (h.weight - copy)
        self.mu = s.first * (s.last / s.first) ** (self.done / max(1, s.steps - 1))
        self.done += 1
        for name, h in self.held.items():
            # The target that the L step is drawn to holds the multipliers; they keep their meaning when mu grows.
            h.target = copies[name] + h.multipliers / self.mu if name in copies else None
            if name not in copies:
                h.multipliers = torch.zeros_like(h.weight)

    def _chosen(self) -> dict[str, Tensor]:
        """The low-rank copies of the layers that don't stay dense, under the plan of this C step."""
        spectra: dict[tuple[str, Scheme], tuple[Tensor, Tensor, Tensor]] = {}
        rows = {}
        for name, candidates in self.table.items():
            h = self.held[name]
            shifted = h.weight.detach() - h.multipliers / self.mu
            found = []
            for candidate in candidates:
                choice = candidate.choice
                if choice != DENSE and (name, choice.scheme) not in spectra:
                    view = Matrix(name, cast(nn.Parameter, shifted), choice.scheme, h.groups, 0).view()
                    u, sv, vh = torch.linalg.svd(view, full_matrices=False)
                    spectra[name, choice.scheme] = u, sv, vh
                found.append(replace(candidate, error=0.0 if choice == DENSE else _tail(spectra[name, choice.scheme][1], choice) / h.norm))
            rows[name] = tuple(found)
        self.plan = c_step(rows, self.limits, self.base)
        copies = {}
        for name, choice in self.plan.factorised().items():
            u, sv, vh = spectra[name, choice.scheme]
            r, h = choice.rank or 0, self.held[name]
            copy = torch.empty_like(h.weight)
            Matrix(name, cast(nn.Parameter, copy), choice.scheme, h.groups, r).write((u[:, :, :r] * sv[:, None, :r]) @ vh[:, :r])
            copies[name] = copy
        return copies


def _tail(singular: Tensor, choice: Choice) -> float:
    """Squared error of the truncation to the choice's rank."""
    return float(singular[:, choice.rank :].double().square().sum())
