"""The one training loop: what is trained, by which loss and method are the caller's, the schedule is told here."""
from __future__ import annotations

from collections.abc import Callable
from itertools import islice

import torch
from torch import Tensor, nn

from edgelr.training.batches import Batch, Batches
from edgelr.training.checkpoint import Checkpoint
from edgelr.training.keeper import Keeper
from edgelr.training.method import PLAIN, Method
from edgelr.training.parallel import ALONE, World
from edgelr.training.progress import Progress, Teller
from edgelr.training.run import Run
from edgelr.training.schedule import Groups, Schedule


def train(
    groups: Groups,
    loss: Callable[[Batch], Tensor],
    batches: Batches,
    schedule: Schedule,
    tell: Callable[[Progress], None] = lambda progress: None,
    after_step: Callable[[], None] = lambda: None,
    *,
    method: Method = PLAIN,
    net: nn.Module | None = None,
    seed: int = 0,
    checkpoint: Checkpoint | None = None,
    world: World = ALONE,
) -> None:
    """Train the leaf tensors of ``groups`` (peak learning rate, tensors) in place, to make ``loss`` of a batch, a mean, small.

    ``method`` adds its penalty to the loss and its work between steps: ``start`` before the first, ``after_step`` behind the optimiser's
    and ``after_step`` of the caller, ``finish`` after the last. ``net``: whose other tensors (statistics of batch norm) are kept too.
    ``seed``: of what the loss and the method draw (dropout), torch's global generator is left as it was. ``checkpoint``: training goes on
    from that file where it is there, and is kept in it. ``world``: the processes that train together; each calls this with the same
    arguments and ends with the same weights, which are those of one process up to rounding where no batch norm is trained.

    Same groups, batches and seeds give the same bits on the same machine and numbers of threads and processes, checkpoints or not.
    Raises EdgelrError where the loss stops being finite, BadInputError or UsageError where the checkpoint is not to be used.
    """
    epoch_steps = len(batches)
    if not schedule.epochs * epoch_steps:
        return
    run = Run(groups, schedule, method, net, schedule.epochs * epoch_steps, seed, world)
    with torch.random.fork_rng(devices=[]):
        run.draw_anew()
        run.agree()
        keeper = Keeper(checkpoint, run, batches)
        method.start(run.steps, run.optimizer)
        keeper.resume()
        teller = Teller(tell if world.rank == 0 else lambda progress: None, schedule.epochs, epoch_steps, run.step)
        for epoch in range(run.step // epoch_steps, schedule.epochs):
            for batch in islice(batches.epoch(epoch), run.step % epoch_steps, None):
                value, penalty = run.take(batch, loss)
                after_step()
                method.after_step(run.step)
                epoch_ends = run.step % epoch_steps == 0
                if epoch_ends:
                    run.agree()
                keeper.save(epoch_ends)
                teller.hear(run.step, value, penalty, keeper.note)
        run.draw_anew()
        method.finish()
        run.agree()
