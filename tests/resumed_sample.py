"""A program that trains on digits, to be killed and run again, or started several times by torchrun.

    resumed_sample.py train STATE OUT     tells each step; weights in OUT
    resumed_sample.py together OUT WORK…  each of WORK in all processes; per process and work OUT.WORK.RANK
"""
from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from lowrank_sample import PLAN, digits, small_net
from safetensors.torch import save_file
from torch import Tensor, nn

from edgelr.errors import BadInputError, EdgelrError
from edgelr.training import ALONE, PLAIN, Bsr, Checkpoint, Schedule, Shuffled, World, call, joined, leave, matrices, supervised, train
from edgelr.training.batches import Batch

EPOCHS, SIZE, SAMPLES = 3, 25, 500


def net_without_norms() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 8, 3, 1, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10))


def fit(net: nn.Module, loss: Callable[[Batch], Tensor], checkpoint: Checkpoint | None = None, world: World = ALONE, low_rank: bool = False,
        after_step: Callable[[], None] = lambda: None) -> None:
    x, y = digits()
    method = Bsr(matrices(net, PLAN)) if low_rank else PLAIN
    train([(0.02, list(net.parameters()))], loss, Shuffled(x[:SAMPLES], y[:SAMPLES], SIZE), Schedule(EPOCHS, "sgd"), after_step=after_step,
          method=method, net=net, checkpoint=checkpoint, world=world)


@dataclass(frozen=True)
class Fit:
    """``kind``: norms, plain, low-rank, diverges; misses (a file) or breaks in the second process."""

    kind: str
    out: str

    def _made(self, world: World) -> nn.Module:
        if self.kind == "misses" and world.rank:
            raise BadInputError("samples.npz can't be read", "there is no such file", "copy it to this machine too")
        return small_net() if self.kind in ("norms", "low-rank") else net_without_norms()

    def run(self, world: World) -> None:
        net = world.made(lambda: self._made(world))
        if world.rank:  # weights are the first process's
            nn.init.zeros_(next(net.parameters()))
        plain, count = supervised(net, None, "scores"), 0

        def loss(batch: Batch) -> Tensor:
            nonlocal count
            count += 1
            if count == 7 and self.kind == "diverges" and world.rank == world.size - 1:
                return plain(batch) * float("nan")
            if count == 7 and self.kind == "breaks" and world.rank:
                raise MemoryError
            return plain(batch)

        fit(net, loss, Checkpoint(Path(f"{self.out}.state")) if self.kind == "norms" else None, world, self.kind == "low-rank")
        save_file(net.state_dict(), f"{self.out}.{self.kind}.{world.rank}")


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(what: str, *words: str) -> None:
    torch.set_num_threads(1)
    if what == "train":
        net = small_net()
        fit(net, supervised(net, None, "scores"), Checkpoint(Path(words[0]), 0.0), low_rank=True, after_step=lambda: say("step"))
        save_file(net.state_dict(), words[1])
        return
    with joined():
        for kind in words[1:]:
            if kind == "waits":
                time.sleep(1)
                continue
            try:
                call(Fit(kind, words[0]))
            except EdgelrError as error:
                say(f"error: {error}")
                if kind not in ("diverges", "misses"):
                    sys.exit(4)
    leave()


if __name__ == "__main__":
    main(*sys.argv[1:])
