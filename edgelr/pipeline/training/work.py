"""One training as work that several processes do together (torchrun): each reads network and data by the run's settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, nn

from edgelr.data import Split
from edgelr.factorize import skeleton
from edgelr.pipeline.settings import Settings
from edgelr.pipeline.source import Source, read
from edgelr.pipeline.training.recipes import Recipe, Rows, Running, trained_whole, tuned
from edgelr.pipeline.training.samples import batches_of, loss_of
from edgelr.training import Checkpoint, Progress, World
from edgelr.vocabulary import Plan


@dataclass
class TrainingWork:
    """A ``Work``. ``cut`` None: the whole network is trained towards ``plan``, and what comes back is its state and the plan that is
    left. Else ``cut`` is the state of the network that ``plan`` factorised, and its state after fine-tuning comes back.

    ``plain`` is the state of the network as given, where that was trained already. ``source``, ``train`` and ``tell`` stay with the first
    process; the others have none.
    """

    settings: Settings
    plan: Plan
    recipe: Recipe
    epochs: int
    plain: Mapping[str, Tensor] | None = None
    cut: Mapping[str, Tensor] | None = None
    rows: Rows | None = None
    checkpoint: Checkpoint | None = None
    source: Source | None = field(default=None, compare=False)
    train: Split | None = field(default=None, compare=False)
    tell: Callable[[Progress], None] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "source": None, "train": None, "tell": None}

    def run(self, world: World) -> tuple[Mapping[str, Tensor], Plan]:
        source, train = world.made(self._read)
        loss, batches = loss_of(self.settings, source), batches_of(self.settings, train)
        running = Running(self.settings.seed, self.checkpoint, world)
        tell = self.tell or (lambda progress: None)
        if self.plain is not None:
            source = replace(source, plain=loaded(source.plain, self.plain))
        if self.cut is None:
            made, plan = trained_whole(source, self.plan, self.recipe, batches, self.epochs, loss, self.rows, tell, running)
            return made.plain.state_dict(), plan
        net = loaded(skeleton(source.folded, self.plan), self.cut)
        return tuned(net, source, self.recipe, batches, self.epochs, loss, tell, running).state_dict(), self.plan

    def _read(self) -> tuple[Source, Split]:
        """Network and samples: those at hand, or by the run's settings."""
        source, train = self.source, self.train
        if source is None or train is None:
            source, data = read(self.settings)
            train = data.train
            assert train is not None
        return source, train


def loaded(net: nn.Module, state: Mapping[str, Tensor]) -> nn.Module:
    """A copy of the network with these weights."""
    made = deepcopy(net).eval()
    made.load_state_dict(dict(state))
    return made
