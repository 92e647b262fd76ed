"""--train auto: the recipe that suits a budget, a network and a time, by rules that benchmarks have shown. Rules are data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from edgelr.pipeline.settings import TrainName
from edgelr.pipeline.source import Source

Kind = Literal["conv", "recurrent", "linear"]


@dataclass(frozen=True)
class Facts:
    """What a choice goes by: the share of parameters or MACs that the plan keeps, the kind of network, how many epochs there is time for,
    whether anything is factorised, and the share of its score that the network keeps when it is cut, before training. ``searched``:
    whether there are candidates to choose ranks from anew (a plan that was given has none)."""

    kept: float
    kind: Kind
    epochs: int
    factorised: bool
    score_kept: float = 1.0
    searched: bool = True


@dataclass(frozen=True)
class Rule:
    """``recipe`` where the facts are within all bounds: ``kept`` and ``score_kept`` at most, ``epochs`` at least, the kind among ``kinds``.
    ``searches``: it chooses ranks itself."""

    recipe: TrainName
    why: str
    evidence: str
    kept: float = 1.0
    epochs: int = 1
    kinds: tuple[Kind, ...] = ("conv", "recurrent", "linear")
    score_kept: float = math.inf
    searches: bool = False

    def holds(self, facts: Facts) -> bool:
        """Whether the facts are within the rule's bounds."""
        within = facts.kept <= self.kept and facts.score_kept <= self.score_kept and facts.epochs >= self.epochs
        return within and facts.kind in self.kinds and (facts.searched or not self.searches)


# The first rule that holds decides. ``evidence`` is the page that shows it; a page that shows another one adds its rule here.
RULES = (
    Rule("lc", "where a cut leaves next to nothing, ranks chosen as the weights train kept twice as much as ranks chosen by cutting",
         "docs/benchmarks/papers-vgg16.md", epochs=2, kinds=("conv",), score_kept=0.2, searches=True),
    Rule("bsr", "in 12 epochs the whole network trained towards its ranks kept some more than fine-tuning alone",
         "docs/benchmarks/papers-resnet20-12-epochs.md", epochs=12, kinds=("conv",)),
    Rule("finetune", "in few epochs, ranks by beam search and fine-tuned factors kept about as much as training towards the ranks",
         "docs/benchmarks/papers-resnet20.md", kinds=("conv", "linear")),
    Rule("finetune", "the training adaptations made one network smaller and another larger, and cost both accuracy before anything is cut",
         "docs/benchmarks/rank-tuning.md", kinds=("recurrent",)),
)  # fmt: skip


def decided(facts: Facts) -> tuple[TrainName, str]:
    """A recipe, or "none", and a sentence why."""
    if not facts.factorised:
        return "none", "the plan leaves the network as it is: there is nothing to train back"
    for rule in RULES:
        if rule.holds(facts):
            cut = f"{facts.score_kept:.0%} of the score when cut"
            found = f"keeps {facts.kept:.0%}, {cut}, {facts.kind} network, time for {facts.epochs} epochs"
            return rule.recipe, f"auto: {rule.why} ({found}; {rule.evidence})"
    return "none", f"auto: there is time for {facts.epochs} epochs, which is too short to train"


def kind_of(source: Source) -> Kind:
    """The kind of layer that has the most parameters."""
    of: dict[Kind, int] = {"conv": 0, "recurrent": 0, "linear": 0}
    for layer in source.layers:
        kind: Kind = "conv" if layer.kind in ("conv1d", "conv2d") else "recurrent" if layer.kind == "recurrent" else "linear"
        of[kind] += layer.params
    return max(of, key=lambda k: of[k])
