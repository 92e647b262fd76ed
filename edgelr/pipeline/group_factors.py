"""Layers that are chosen together, because they have a factor in common: their joint decompositions, and plans told layer by layer."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgelr.factorize import JointDecomposition, Moments, decompose_group, named_layers
from edgelr.pipeline.source import Source
from edgelr.vocabulary import DENSE, Choice, Plan, Scheme, Share

LEFT_SHARES = (0.3, 0.7)  # of a rank, on the left, where both sides have a part: from the paper's tables, not tried here
BOTH_SIDE_MAX = 256  # rows of a matrix: each rank takes up to 60 eigendecompositions of that size
GroupKey = tuple[str, Scheme, str]


@dataclass
class GroupFactors:
    """``groups``: the layers of each name that stands for several. A choice of such a name is the choice of all of them."""

    source: Source
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)
    moments: dict[str, Moments] = field(default_factory=dict)
    _made: dict[GroupKey, JointDecomposition] = field(default_factory=dict)

    def members(self, name: str) -> tuple[str, ...]:
        """The layers that a name stands for: a group's, or the layer itself."""
        return self.groups.get(name, (name,))

    def expanded(self, plan: Plan) -> Plan:
        """The plan told by layers. Groups that it names are known from then on."""
        told = Plan({layer: choice for name, choice in plan.choices.items() for layer in self.members(name)})
        for name, choice in told.factorised().items():
            if choice.share is not None and name not in self.groups.get(choice.share.group, (name,)):
                raise AssertionError(f"{name} is not in group {choice.share.group}")
        own: dict[str, list[str]] = {}
        for name, choice in told.factorised().items():
            if choice.share is not None:
                own.setdefault(choice.share.group, []).append(name)
        for group, layers in own.items():
            self.groups.setdefault(group, tuple(layers))
        return told

    def of(self, choice: Choice) -> JointDecomposition:
        """The decomposition that a shared choice is cut from, made at its first use."""
        assert choice.share is not None
        key = (choice.share.group, choice.scheme, choice.share.side)
        if key not in self._made:
            modules = named_layers(self.source.folded)
            members = {name: modules[name] for name in self.groups[choice.share.group]}
            own = {name: self.moments[name] for name in members if name in self.moments}
            self._made[key] = decompose_group(members, choice.scheme, choice.share.side, moments=own)
        return self._made[key]

    def joint(self, plan: Plan) -> dict[GroupKey, JointDecomposition]:
        """What ``rebuild`` needs of a plan's groups."""
        shared = [c for c in self.expanded(plan).factorised().values() if c.share is not None]
        return {(c.share.group, c.scheme, c.share.side): self.of(c) for c in shared if c.share is not None}


def shared_choices(group: str, alone: Choice, rows: int) -> tuple[Choice, ...]:
    """The shared choices at the rank of one that isn't shared: left, right, and both with a few shares of the rank on the left.

    ``rows`` of the layers' matrix.
    """
    assert alone != DENSE and alone.rank is not None
    rank = alone.rank
    sides = [Share(group, "left"), Share(group, "right")]
    if rank > 1 and rows <= BOTH_SIDE_MAX:
        lefts = dict.fromkeys(min(rank - 1, max(1, round(rank * p))) for p in LEFT_SHARES)
        sides += [Share(group, "both", left) for left in lefts]
    return tuple(Choice(alone.scheme, rank, share) for share in sides)
