"""One program started several times by torchrun: the first process runs it, the others take part where it trains."""
from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import NoReturn, Protocol, TypeVar

import torch.distributed as dist

from edgelr.errors import EdgelrError, UsageError
from edgelr.training.parallel import ALONE, ProcessEndedError, World

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")

PATIENCE = timedelta(days=14)  # others wait while the first process searches and measures


class Work(Protocol[T_co]):
    """What all processes do together: of a class that each can import, with all that it needs in it (it is pickled).

    Errors of the user's doing (EdgelrError) must come up in all processes alike, as those of ``train`` and of ``World.made`` do.
    """

    def run(self, world: World) -> T_co: ...


@contextmanager
def joined() -> Iterator[None]:
    """Join the processes that torchrun started; the first (or only) one runs the program within this, and ends by ``leave``.

    The others do meanwhile whatever the first ``call``s, and end here, with 0, when it has left, by an error or not. Raises UsageError
    where the processes can't find each other.
    """
    if not several():
        yield
        return
    try:
        dist.init_process_group("gloo", timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:  # DistError is a RuntimeError
        raise UsageError("the processes of this program can't find each other", str(error).splitlines()[0],
                         "start it by torchrun --standalone --nproc-per-node 2 -m edgelr …", detail=str(error)) from error
    world = here()
    try:
        if world.rank:
            _serve(world)
            leave()
        yield
        with suppress(ProcessEndedError):  # the work is done
            world.told(None)
    except BaseException:
        # Without a word to the others: they may be in the middle of a training, and end as the connection does.
        dist.destroy_process_group()
        raise


def several() -> bool:
    """Whether torchrun started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def leave(code: int = 0) -> NoReturn:
    """End this process at once, its output written: gloo's threads aborted one run in ten that took them down in order (torch 2.13)."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def here() -> World:
    """This process among those that have ``joined``; ``ALONE`` where none has."""
    return World(dist.get_rank(), dist.get_world_size()) if dist.is_available() and dist.is_initialized() else ALONE


def call(work: Work[T]) -> T:
    """Run ``work`` in all joined processes at once, from the first; its result in this one. Where none has joined it is just run."""
    world = here()
    world.told(work)
    return work.run(world)


def _serve(world: World) -> None:
    nothing: Work[object] | None = None
    try:
        while (work := world.told(nothing)) is not None:
            try:
                work.run(world)
            except ProcessEndedError:
                return
            except EdgelrError:
                continue  # the first process has it too, and tells it
    except ProcessEndedError:
        return
