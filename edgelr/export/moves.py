"""A chain of reshapes and permutations as one move of the data: at most one transpose, between two reshapes, and often less.

An axis is a list of atoms, outermost first; an atom is a run of places that the chain never parts. A reshape regroups atoms (and splits
them where it needs to), a permutation reorders axes. The order of the atoms before and behind is all that matters to the data.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod


@dataclass(eq=False)
class Atom:
    """``size`` places; ``parts`` once it was split."""

    size: int
    parts: tuple[Atom, ...] = ()

    def leaves(self) -> list[Atom]:
        return [leaf for part in self.parts for leaf in part.leaves()] if self.parts else [self] if self.size > 1 else []


Axis = list[Atom]


def leaves(axes: Sequence[Axis]) -> list[Atom]:
    return [leaf for axis in axes for atom in axis for leaf in atom.leaves()]


def axes_of(shape: Sequence[int]) -> list[Axis]:
    return [[Atom(n)] for n in shape]


def reshaped(axes: Sequence[Axis], shape: Sequence[int]) -> list[Axis] | None:
    """The axes regrouped to ``shape``; None where that cuts through an atom at no whole number."""
    left, result = leaves(axes), []
    for length in shape:
        axis: Axis = []
        while (have := prod(a.size for a in axis)) < length:
            atom = left.pop(0)
            wanted, rest = divmod(length, have)
            if rest or (wanted % atom.size and atom.size % wanted):
                return None
            if atom.size > wanted:
                atom.parts = (Atom(wanted), Atom(atom.size // wanted))
                left.insert(0, atom.parts[1])
                atom = atom.parts[0]
            axis.append(atom)
        result.append(axis)
    return result


@dataclass(frozen=True)
class Move:
    """Reshape to ``before``, transpose by ``order``, reshape to the wanted shape; ``order`` is None where the data keep their order."""

    before: tuple[int, ...]
    order: tuple[int, ...] | None

    @property
    def between(self) -> tuple[int, ...]:
        """The shape behind the transpose."""
        return self.before if self.order is None else tuple(self.before[a] for a in self.order)


def move(source: Sequence[Axis], target: Sequence[Axis]) -> Move:
    """The least move from axes as written to axes as wanted, of the same atoms."""
    place = {id(atom): i for i, atom in enumerate(leaves(source))}
    wanted = [place[id(atom)] for atom in leaves(target)]
    shape = tuple(prod(a.size for a in axis) for axis in source)
    if wanted == sorted(wanted):
        return Move(shape, None)
    return _by_axes(source, target, place, wanted) or _by_groups(source, wanted)


def _by_axes(source: Sequence[Axis], target: Sequence[Axis], place: dict[int, int], wanted: list[int]) -> Move | None:
    """The source's own axes in another order, where none of them is parted; axes of length 1 go where the target has them."""
    runs = [[place[id(atom)] for atom in leaves([axis])] for axis in source]
    full, empty = [a for a, run in enumerate(runs) if run], [a for a, run in enumerate(runs) if not run]
    order = sorted(full, key=lambda a: wanted.index(runs[a][0]))
    if [i for a in order for i in runs[a]] != wanted:
        return None
    slots = [bool(leaves([axis])) for axis in target]
    if len(slots) != len(source) or sum(slots) != len(full):
        slots = [False] * len(empty) + [True] * len(full)
    filled, spare = iter(order), iter(empty)
    return Move(tuple(prod(a.size for a in axis) for axis in source), tuple(next(filled) if slot else next(spare) for slot in slots))


def _by_groups(source: Sequence[Axis], wanted: list[int]) -> Move:
    """Axes made of the atoms that stay together."""
    sizes = [atom.size for atom in leaves(source)]
    starts = [i for n, i in enumerate(wanted) if n == 0 or wanted[n - 1] != i - 1]  # where a run begins, in the target's order
    inside = sorted(starts)
    ends = [*inside[1:], len(sizes)]
    return Move((1, *(prod(sizes[a:b]) for a, b in zip(inside, ends, strict=True))), (0, *(inside.index(i) + 1 for i in starts)))
