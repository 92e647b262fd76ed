"""--train: the chosen network trained in float: whole towards its plan, then in its factors. What is better on held-out samples is kept."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from torch import Tensor, nn

from edgelr.errors import EdgelrError
from edgelr.factorize import skeleton
from edgelr.graph import Graph
from edgelr.pipeline.job import Job
from edgelr.pipeline.metrics import Outputs
from edgelr.pipeline.planning import REFITS, Planned, measured, respelled
from edgelr.pipeline.produce import Product, outputs_of, written
from edgelr.pipeline.recapture import graph_of
from edgelr.pipeline.settings import TOWARDS_RANKS
from edgelr.pipeline.source import Source, inspect
from edgelr.pipeline.training.recipes import Recipe, factorised, for_cut
from edgelr.pipeline.training.setup import TrainingSetup, rows_of, score_of, setup_of
from edgelr.pipeline.training.unfinished import Unfinished
from edgelr.pipeline.training.work import TrainingWork, loaded
from edgelr.report import RankChange, TrainingStage
from edgelr.training import Progress, call
from edgelr.training.lc import LearningCompression
from edgelr.vocabulary import Plan, Score

RECHOICES = 6  # of learning-compression's plan, where it is over a budget as written or measured
SLOWER = 0.1  # of the learning rate, after training diverged
NAMES = {"whole": "training at full rank", "factors": "fine-tuning"}


@dataclass(frozen=True)
class Training:
    """What ``--train`` did: its stages in order, and what a user should know of them. ``used``: whether its weights are in the result."""

    stages: tuple[TrainingStage, ...] = ()
    notes: tuple[str, ...] = ()
    used: bool = False


@dataclass
class Trainer:
    """A training under way: its stages so far."""

    job: Job
    setup: TrainingSetup
    unfinished: Unfinished
    stages: list[TrainingStage] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    scores: dict[int, tuple[Graph, Score]] = field(default_factory=dict)

    def score(self, graph: Graph) -> Score:
        """Of a float graph, on held-out samples of training data."""
        if id(graph) not in self.scores:
            self.scores[id(graph)] = graph, score_of(self.job, graph, self.setup.held, self.reference)
        return self.scores[id(graph)][1]

    @cached_property
    def reference(self) -> Outputs:
        return outputs_of(self.job.source.graph, self.setup.held)

    def trained(self, part: str, work: TrainingWork) -> tuple[Mapping[str, Tensor], Plan, Progress | None, Progress | None]:
        """The work's result, and its first and last word. Where it diverges it is begun again at a tenth of the rate, once."""
        log, heard = self.job.log, list[Progress]()

        def tell(progress: Progress) -> None:
            heard.append(progress)
            log.say(f"{NAMES[part]}: {progress}")

        work = replace(work, tell=tell, checkpoint=self.unfinished.checkpoint(part))
        try:
            state, plan = call(work)
        except EdgelrError as error:
            if error.what != "training diverged":
                raise
            recipe = work.recipe
            slower = replace(recipe, rate=SLOWER * recipe.rate, rate_before=SLOWER * recipe.rate_before)
            self.notes.append(f"{NAMES[part]} diverged, and was begun again at a tenth of the learning rate")
            log.say(f"note: {self.notes[-1]}")
            heard.clear()
            state, plan = call(replace(work, recipe=slower, checkpoint=self.unfinished.checkpoint(f"{part}-slower")))
        return state, plan, heard[0] if heard else None, heard[-1] if heard else None

    def stage(self, part: str, work: TrainingWork, before: Graph, after: Graph, start: float, words: tuple[Progress | None, ...],
              ranks: tuple[RankChange, ...] = ()) -> None:  # fmt: skip
        first, last = (None if w is None else w.loss for w in words)
        name = "finetune" if part == "factors" else self.setup.recipe.name
        self.stages.append(TrainingStage(
            NAMES[part], name, self.setup.why, work.epochs, len(self.setup.train), time.perf_counter() - start, first, last,
            self.score(before), self.score(after), ranks, work.recipe.rate if part == "factors" else work.recipe.rate_before,
        ))  # fmt: skip

    def whole(self, planned: Planned) -> tuple[Source, Plan]:
        """The network trained towards the plan, and the plan that is left: for lc its own, within every budget as written and measured."""
        job, setup, plan, start = self.job, self.setup, planned.product.plan, time.perf_counter()
        rows = rows_of(setup.recipe, planned)
        work = replace(self.work(plan, setup.epochs_before), rows=rows)
        job.log.say(f"{NAMES['whole']} ({setup.recipe.name}): {work.epochs} epochs of {len(setup.train):,} samples")
        state, chosen, *words = self.trained("whole", work)
        source = inspect(job.source.name, loaded(job.source.plain, state), job.source.shape)
        if rows is not None:
            chosen = self.within(planned, source, chosen, setup.recipe)
        changes = [n for n in {**plan.factorised(), **chosen.factorised()} if plan[n] != chosen[n]]
        ranks = tuple(RankChange(n, str(plan[n]), str(chosen[n])) for n in changes)
        self.stage("whole", work, job.source.graph, source.graph, start, tuple(words), ranks)
        return source, chosen

    def within(self, planned: Planned, source: Source, plan: Plan, recipe: Recipe) -> Plan:
        """Learning-compression's plan, chosen again below what it was over as written and measured; else the search's, which holds."""
        assert planned.prepared is not None
        fitting = planned.prepared.fitting
        for _ in range(RECHOICES):
            over = fitting.over(plan)
            if not over:
                return plan
            self.job.log.say(f"the plan of lc is over {', '.join(over)} as written and measured: choosing again")
            rows = rows_of(recipe, planned)
            assert rows is not None
            method = LearningCompression(loaded(source.plain, source.plain.state_dict()), rows.table, rows.limits, rows.base, recipe.lc)
            method.finish()
            plan = method.plan
        self.notes.append("lc found no plan within the budget as measured: the search's plan was taken")
        return planned.product.plan

    def factors(self, source: Source, plan: Plan, cut: nn.Module, before: Graph) -> tuple[nn.Module, Graph]:
        """A factorised network after fine-tuning, and its graph."""
        job, setup, start = self.job, self.setup, time.perf_counter()
        kept = self.score(before).value / max(self.score(job.source.graph).value, 1e-9)
        epochs, recipe = setup.epochs - setup.epochs_before, for_cut(setup.recipe, kept)
        work = replace(self.work(plan, epochs), recipe=recipe, cut=cut.state_dict(), plain=source.plain.state_dict())
        told = f"the cut keeps {kept:.0%} of the score: rate {recipe.rate:g}"
        job.log.say(f"{NAMES['factors']}: {work.epochs} epochs of {len(setup.train):,} samples; {told}")
        state, _, *words = self.trained("factors", work)
        net = loaded(skeleton(job.source.folded, plan), state)
        graph = graph_of(net, plan, source.shape)
        self.stage("factors", work, before, graph, start, tuple(words))
        return net, graph

    def work(self, plan: Plan, epochs: int) -> TrainingWork:
        return TrainingWork(self.job.settings, plan, self.setup.recipe, epochs, source=self.job.source, train=self.setup.train)


def trained_network(job: Job, dense: Product, planned: Planned, unfinished: Unfinished) -> tuple[Planned, Training]:
    """The planned network after training as ``--train`` asks, and what training was. Never sees validation samples but to be judged.

    Raises UsageError where there is nothing to train by that recipe, or no time to.
    """
    settings, log = job.settings, job.log
    if settings.train == "none":
        return planned, Training()
    with log.stage("train"):
        setup = setup_of(job, planned, unfinished.setup())
        if isinstance(setup, str):
            log.say(f"--train auto: {setup}")
            return planned, Training(notes=(setup,))
        log.say(f"training by {setup.recipe.name}: {setup.why}")
        unfinished.keep(planned.fitted, job.source.name, job.source.shape, (setup.recipe.name, setup.why, setup.epochs))
        trainer = Trainer(job, setup, unfinished)
        untrained = planned.product.graph
        source, plan, cut, graph = job.source, planned.product.plan, planned.product.model, untrained
        if setup.recipe.name in TOWARDS_RANKS:
            source, plan = trainer.whole(planned)
            cut, _ = factorised(source, plan, lambda: list(job.calibration))
            graph = graph_of(cut, plan, source.shape)
        candidates = [(planned.product.model, untrained, planned.product.plan)]
        if graph is not untrained:
            candidates.append((cut, graph, plan))
        if setup.epochs > setup.epochs_before:
            candidates.append((*trainer.factors(source, plan, cut, graph), plan))
        model, best, plan = kept(trainer, candidates)
        if best is untrained:
            return planned, Training(tuple(trainer.stages), tuple(trainer.notes))
    return finished(job, dense, planned, model, best, plan), Training(tuple(trainer.stages), tuple(trainer.notes), True)


def kept(trainer: Trainer, candidates: list[tuple[nn.Module, Graph, Plan]]) -> tuple[nn.Module, Graph, Plan]:
    """The network that is best on held-out samples, the last of those as good; told where that isn't the one that was trained most."""
    scores = [trainer.score(graph) for _, graph, _ in candidates]
    best = max(range(len(scores)), key=lambda i: (scores[i].value, i))
    if best < len(scores) - 1:
        when = "before fine-tuning" if best else "before training"
        told = f"{scores[-1].metric} on {scores[-1].split} is {scores[best].value:.1%} so, and {scores[-1].value:.1%} after training"
        trainer.notes.append(f"the network is kept as it was {when}: {told}")
        trainer.job.log.say(f"note: {trainer.notes[-1]}")
    return candidates[best]


def finished(job: Job, dense: Product, planned: Planned, model: nn.Module, graph: Graph, plan: Plan) -> Planned:
    """The trained network in its files, measured; one that is over a latency budget by noise is measured again."""
    fitting = planned.prepared.fitting if planned.prepared else None
    same = plan == planned.product.plan
    precision = planned.precision if same or fitting is None else fitting.precision
    product, tried = written(plan, model, graph, job.source.shape, job.calibration, job.settings, precision), planned.tried
    if not same:
        product, precision, tried = respelled(job, product, precision, dense.files)
    for _ in range(REFITS):
        latency = measured(job, dense, product)
        if fitting is None or not fitting.still_over(plan, latency):
            break
    fitted = replace(planned.fitted, plan=plan) if planned.fitted else None
    return replace(planned, product=product, precision=precision, measured=latency, tried=tried, fitted=fitted)
