"""Groups of layers that can have a factor in common: the same position in repeated blocks, of one geometry."""
from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from itertools import pairwise

from torch import nn

from edgelr.errors import UsageError
from edgelr.factorize.geometry import Geometry, geometry_of
from edgelr.factorize.schemes import schemes_of

Groups = dict[str, tuple[str, ...]]
KINDS = ("conv1d", "conv2d", "linear")


def found_groups(modules: Mapping[str, nn.Module], names: Iterable[str]) -> Groups:
    """Groups among the layers ``names``, each layer in one at most: names that differ in one number, and geometries that are equal.

    blocks.3.conv1, blocks.4.conv1 and blocks.5.conv1 become "blocks.3-5.conv1"; a plain sequence's features.24 and features.27 become
    "features.24+27". A digit that ends a layer's own name (conv1, conv2) tells its position in its block and is no block's number. Where a
    layer fits in several groups the largest takes it (joint decomposition's groups: a position in all blocks of a stage, arXiv 2107.04386).
    """
    known = _geometries(modules, names)
    templates: dict[tuple[str, str, Geometry], list[str]] = {}
    for name, geometry in known.items():
        for before, after in _numbers(name):
            templates.setdefault((before, after, geometry), []).append(name)
    groups: Groups = {}
    taken: set[str] = set()
    for (before, after, _), members in sorted(templates.items(), key=lambda item: (-len(item[1]), item[0][:2])):
        own = tuple(m for m in members if m not in taken)
        if len(own) > 1:
            groups[_name(before, after, own)] = own
            taken.update(own)
    order = list(known)
    return dict(sorted(groups.items(), key=lambda item: order.index(item[1][0])))


def given_groups(modules: Mapping[str, nn.Module], names: Iterable[str], patterns: Sequence[str]) -> Groups:
    """Groups as a user gives them: each entry is names or patterns ("blocks.[3-5].conv1"), separated by commas, whose layers are a group of
    their own for each geometry that they have.

    Raises UsageError where a part matches no layer, a layer is in two groups, or an entry has no two layers of one geometry.
    """
    known = _geometries(modules, names)
    groups: Groups = {}
    owner: dict[str, str] = {}
    for entry in patterns:
        chosen: list[str] = []
        for part in filter(None, (p.strip() for p in entry.split(","))):
            matched = [n for n in known if fnmatchcase(n, part)]
            if not matched:
                near = get_close_matches(part, list(known), n=1)
                raise UsageError(f"--group {entry!r}: {part!r} matches no layer that can be factorised", "",
                                 f"did you mean {near[0]!r}?" if near else "edgelr inspect lists the names")
            chosen += [n for n in matched if n not in chosen]
        twice = next((n for n in chosen if n in owner), None)
        if twice is not None:
            raise UsageError(f"layer {twice!r} is in two groups", f"--group {owner[twice]!r} and --group {entry!r} both match it",
                             "a layer has one group: make the patterns narrower")
        owner |= dict.fromkeys(chosen, entry)
        alike: dict[Geometry, list[str]] = {}
        for n in sorted(chosen, key=list(known).index):
            alike.setdefault(known[n], []).append(n)
        several = [tuple(members) for members in alike.values() if len(members) > 1]
        if not several:
            raise UsageError(f"--group {entry!r} has no two layers of one shape", ", ".join(f"{n} {known[n].weight_shape}" for n in chosen),
                             "layers with a factor in common have equal weights, strides and kernels")
        groups |= {_group_name(members): members for members in several}
    return groups


def _geometries(modules: Mapping[str, nn.Module], names: Iterable[str]) -> dict[str, Geometry]:
    """The layers that can take part, with what must be equal in a group: all of the geometry but whether there is a bias."""
    able = {n: modules[n] for n in names if schemes_of(modules[n])[0]}
    return {n: replace(g, bias=False) for n, m in able.items() if (g := geometry_of(m)).kind in KINDS}


def _numbers(name: str) -> list[tuple[str, str]]:
    """What stands before and after each number of a name that can be a block's."""
    last = name.rfind(".") + 1
    found = re.finditer(r"\d+", name)
    return [(name[: m.start()], name[m.end():]) for m in found if m.start() < last or name[last:].isdigit()]


def _group_name(members: Sequence[str]) -> str:
    """The members' name with their numbers joined, where that is all that differs; else all of their names."""
    shared = set(_numbers(members[0])).intersection(*(_numbers(m) for m in members[1:]))
    return _name(*sorted(shared)[0], members) if shared else "+".join(members)


def _name(before: str, after: str, members: Sequence[str]) -> str:
    numbers = [m[len(before): len(m) - len(after)] for m in members]
    in_row = len(numbers) > 1 and all(b.isdigit() and a.isdigit() and int(b) == int(a) + 1 for a, b in pairwise(numbers))
    return before + (f"{numbers[0]}-{numbers[-1]}" if in_row else "+".join(numbers)) + after
