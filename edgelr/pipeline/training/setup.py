"""How a network is going to be trained: by which recipe, for how long, on which samples, and by which loss. Told before it begins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from edgelr.data import Split
from edgelr.errors import UsageError
from edgelr.graph import Graph
from edgelr.pipeline.job import Job
from edgelr.pipeline.metrics import Outputs, metric_of
from edgelr.pipeline.planning import Planned
from edgelr.pipeline.prepare import counted_costs
from edgelr.pipeline.produce import outputs_of
from edgelr.pipeline.settings import TOWARDS_RANKS, TOWARDS_SHARED, TrainName
from edgelr.pipeline.source import Source
from edgelr.pipeline.training.auto import Facts, decided, kind_of
from edgelr.pipeline.training.pace import epochs_for
from edgelr.pipeline.training.recipes import Recipe, RecipeName, Rows, suited
from edgelr.pipeline.training.samples import batches_of, loss_of, some, suitable_epochs, trainable
from edgelr.vocabulary import Plan, Score

EPOCHS = (2, 20)
RUNS = 4  # that a step takes the time of: three, and one of the teacher


@dataclass(frozen=True)
class TrainingSetup:
    """``why`` says why this recipe. ``train`` is trained on, ``held`` judges: both are of training data, never of the test part."""

    recipe: Recipe
    why: str
    epochs: int
    train: Split
    held: Split

    @property
    def epochs_before(self) -> int:
        return self.recipe.epochs_before(self.epochs)


def setup_of(job: Job, planned: Planned, begun: tuple[str, str, int] | None = None) -> TrainingSetup | str:
    """The setup of ``--train`` towards a plan, or why ``auto`` doesn't train. ``begun``: recipe, why and epochs of an interrupted run.

    Raises UsageError where what was asked can't be done.
    """
    settings, source, plan = job.settings, job.source, planned.product.plan
    if not trainable(job.data):
        return "nothing was trained: there is no train part (add x_train to the data)"
    assert job.data.train is not None and job.data.validation is not None
    train, held = job.data.train, some(job.data.validation, settings.score_samples, settings.seed)
    if begun is not None:
        recipe, why, epochs = begun
        return TrainingSetup(suited(cast(RecipeName, recipe), source), why, epochs, train, held)
    name, why = settings.train, f"asked for (--train {settings.train})"
    epochs = _epochs(job, planned, suited("finetune" if name == "auto" else cast(RecipeName, name), source), train)
    if name == "auto":
        kind, factorised = kind_of(source), bool(plan.factorised())
        score_kept = _score_kept(job, planned, held) if factorised else 1.0
        name, why = decided(Facts(kept_share(source, plan), kind, epochs, factorised, score_kept, planned.prepared is not None))
        if name == "none":
            return why
        if name in TOWARDS_RANKS and name != TOWARDS_SHARED and any(c.share for c in plan.factorised().values()):
            name, why = "finetune", f"auto: factors in common are fine-tuned, and not trained towards by {name}"
        if settings.time and name != "finetune":  # its steps take longer than those of the factors
            epochs = _epochs(job, planned, suited(cast(RecipeName, name), source), train)
            name = name if epochs >= least_epochs(name) else "finetune"
    if epochs < least_epochs(name):
        raise UsageError(
            f"{epochs} epochs are too few for --train {name}",
            f"it takes {least_epochs(name)} at least" + (f"; --time {settings.time} is enough for {epochs}" if settings.time else ""),
            "give more time, or --train finetune" if name != "finetune" else "give more time, or a smaller train part",
        )
    if name != "finetune" and not plan.factorised():
        raise UsageError(
            f"there is nothing for --train {name} to compress",
            "the plan that meets the budget leaves every layer as it is",
            "give a tighter budget, or --train finetune to train the network as it is",
        )
    return TrainingSetup(suited(cast(RecipeName, name), source), why, epochs, train, held)


def score_of(job: Job, graph: Graph, held: Split, reference: Outputs) -> Score:
    """Of a float graph, on held-out samples of training data; ``reference`` are the source's outputs there."""
    named = job.settings.metric
    metric = metric_of("agreement" if held.y is None and ":" not in named else named, held)
    return metric.score(outputs_of(graph, held), held.y, reference, "validation")


def _score_kept(job: Job, planned: Planned, held: Split) -> float:
    """The share of the source's score that the planned network keeps when it is cut."""
    reference = outputs_of(job.source.graph, held)
    whole, cut = (score_of(job, graph, held, reference).value for graph in (job.source.graph, planned.product.graph))
    return cut / max(whole, 1e-9)


def least_epochs(name: TrainName) -> int:
    """A recipe of two parts needs an epoch for each."""
    return 1 if name == "finetune" else 2


def _epochs(job: Job, planned: Planned, recipe: Recipe, train: Split) -> int:
    """As many as were asked for, or as suit; within the time allowed, which is measured."""
    settings, source = job.settings, job.source
    wanted = settings.epochs or suitable_epochs(len(train), source.macs, RUNS, EPOCHS)
    if not settings.time:
        return wanted
    batches, loss = batches_of(settings, train), loss_of(settings, source)
    cut = planned.product.model
    within, epoch_s = epochs_for(settings.seconds, source, planned.product.plan, cut, recipe, batches, loss, rows_of(recipe, planned))
    job.log.say(f"training: an epoch takes up to {epoch_s:.3g} s, so --time {settings.time} is enough for {within}")
    return min(within, settings.epochs or max(wanted, EPOCHS[1]))


def rows_of(recipe: Recipe, planned: Planned) -> Rows | None:
    """What learning-compression chooses from: the search's own table and limits."""
    if recipe.name != "lc":
        return None
    assert planned.prepared is not None
    fitting = planned.prepared.fitting
    return Rows(fitting.table(), fitting.working_limits(), fitting.bases())


def kept_share(source: Source, plan: Plan) -> float:
    """What a plan leaves of the network: the smaller of its shares of parameters and of MACs."""
    whole, left = counted_costs(source, Plan()), counted_costs(source, plan)
    return min(left[k] / max(1.0, whole[k]) for k in whole if whole[k])
