"""What a low-rank training adds to the plain loop: a penalty on the loss, and work between steps."""
from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from edgelr.factorize import geometry_of, matrices_of, named_layers, weight_from_matrix
from edgelr.vocabulary import Plan, Scheme


class Method(Protocol):
    """Implemented by each way of training. Steps are counted from 1 when they are done; ``start`` is told how many there will be, and
    the optimiser, whose momentum belongs to the weights that a method moves.

    ``state`` is all that a resumed training needs besides weights and optimiser, as tensors; ``load`` takes it back after ``start``.
    """

    def start(self, steps: int, optimizer: torch.optim.Optimizer) -> None: ...
    def penalty(self) -> Tensor | None: ...
    def after_step(self, step: int) -> None: ...
    def finish(self) -> None: ...
    def state(self) -> Mapping[str, Tensor]: ...
    def load(self, state: Mapping[str, Tensor]) -> None: ...


class Plain:
    """Nothing added."""

    def start(self, steps: int, optimizer: torch.optim.Optimizer) -> None:
        pass

    def penalty(self) -> Tensor | None:
        return None

    def after_step(self, step: int) -> None:
        pass

    def finish(self) -> None:
        pass

    def state(self) -> Mapping[str, Tensor]:
        return {}

    def load(self, state: Mapping[str, Tensor]) -> None:
        pass


PLAIN = Plain()


class Aim(Protocol):
    """Matrices [groups, m, n] of weights as they are now, differentiable, that are to have this rank."""

    @property
    def rank(self) -> int: ...
    def view(self) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class Matrix:
    """An ``Aim`` that can be written: a layer's weight as the matrices [groups, m, n] that its scheme factorises."""

    name: str
    weight: nn.Parameter
    scheme: Scheme
    groups: int
    rank: int

    def view(self) -> Tensor:
        """The matrices [groups, m, n] of the weight as it is now, differentiable."""
        return matrices_of(self.weight, self.scheme, self.groups)

    @torch.no_grad()
    def write(self, matrices: Tensor) -> None:
        """Put matrices [groups, m, n] in the weight's place."""
        self.weight.copy_(weight_from_matrix(matrices, self.scheme, self.weight.shape))


def matrices(net: nn.Module, plan: Plan) -> tuple[Matrix, ...]:
    """The matrices of the layers that ``plan`` factorises; ``net`` still has them dense."""
    return tuple(_matrices(named_layers(net), plan))


def _matrices(layers: Mapping[str, nn.Module], plan: Plan) -> Iterator[Matrix]:
    for name, choice in plan.factorised().items():
        assert choice.rank is not None
        yield Matrix(name, cast(nn.Parameter, layers[name].weight), choice.scheme, geometry_of(layers[name]).groups, choice.rank)
