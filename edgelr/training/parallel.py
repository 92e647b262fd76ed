"""Training in several processes: each takes its share of every batch, and the gradients are added up."""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from edgelr.errors import EdgelrError
from edgelr.training.batches import Batch

T = TypeVar("T")


class ProcessEndedError(EdgelrError):
    """Another process of this training is gone."""


@dataclass(frozen=True)
class World:
    """The ``size`` processes that train together, and which of them this is. ``ALONE`` is the world of one.

    torch's own wrapper (DistributedDataParallel) would own the network and its hooks, while here weights are any tensors and methods
    read and write them between steps; and it divides by the number of processes, which is wrong for shares of different sizes.
    """

    rank: int = 0
    size: int = 1

    def share(self, batch: Batch) -> tuple[Batch, float]:
        """This process's samples of a batch, and which part of the batch they are. Of a batch too small to be shared: all of it."""
        x, y = batch
        if len(x) < self.size:
            return batch, 1 / self.size
        low, high = (len(x) * r // self.size for r in (self.rank, self.rank + 1))
        return (x[low:high], None if y is None else y[low:high]), (high - low) / len(x)

    @torch.no_grad()
    def add(self, tensors: Sequence[Tensor]) -> None:
        """Each tensor becomes the sum of all processes', the same to the bit in each, in one exchange."""
        if self.size == 1:
            return
        flat = torch.cat([t.reshape(-1) for t in tensors])
        with _connected():
            dist.all_reduce(flat)
        _spread(flat, tensors)

    @torch.no_grad()
    def copy(self, tensors: Sequence[Tensor]) -> None:
        """Each tensor becomes that of process 0."""
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([t.reshape(-1) for t in tensors])
        with _connected():
            dist.broadcast(flat, 0)
        _spread(flat, tensors)

    def made(self, make: Callable[[], T]) -> T:
        """What each process makes for itself, before they work together: where one can't, none goes on.

        Raises that one's error in all of them: a file missing on one of two machines is told by the first process, which has it.
        """
        if self.size == 1:
            return make()
        result, failed = None, None
        try:
            result = make()
        except EdgelrError as error:
            where = f"process {self.rank} of {self.size}: " if self.rank else ""
            failed = type(error), where + error.what, error.why, error.try_
        each: list[Any] = [None] * self.size
        with _connected():
            dist.all_gather_object(each, failed)
        for kind, what, why, try_ in filter(None, each):
            raise kind(what, why, try_)
        return result  # type: ignore[return-value]  # none has failed

    def told(self, word: T) -> T:
        """What process 0 says. Between processes of one user's, started together: it is unpickled."""
        if self.size == 1:
            return word
        said: list[Any] = [word]
        with _connected():
            dist.broadcast_object_list(said, 0)
        return said[0]  # type: ignore[no-any-return]


ALONE = World()


def _spread(flat: Tensor, tensors: Sequence[Tensor]) -> None:
    for tensor, part in zip(tensors, torch.split(flat, [t.numel() for t in tensors]), strict=True):
        tensor.copy_(part.view(tensor.shape))


@contextmanager
def _connected() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # what gloo raises where a connection ends
        raise ProcessEndedError("a process of this training ended", "the others can't go on without its share of each batch",
                                "read what it said above, and start again: training resumes at its last checkpoint",
                                detail=str(error)) from error
