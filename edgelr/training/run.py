"""A training between its steps: all that one step leaves for the next."""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isfinite

import numpy as np
import torch
from torch import Tensor, nn

from edgelr.errors import EdgelrError
from edgelr.training.batches import Batch
from edgelr.training.checkpoint import Saved
from edgelr.training.method import Method
from edgelr.training.parallel import World
from edgelr.training.schedule import Groups, Schedule, optimizer_of

NORM_MEMORY = 0.98  # of the running mean of gradient norms: some fifty steps


class Run:
    """``step`` is the number of steps done. ``others`` are tensors of the network that the optimiser doesn't move, by name."""

    def __init__(
        self, groups: Groups, schedule: Schedule, method: Method, net: nn.Module | None, steps: int, seed: int, world: World
    ) -> None:
        self.schedule, self.method, self.steps, self.seed, self.world = schedule, method, steps, seed, world
        self.optimizer = optimizer_of(groups, schedule)
        self.trained = [p for settings in self.optimizer.param_groups for p in settings["params"]]
        self.others = _others(net, self.trained)
        self.step, self.typical = 0, 0.0

    def take(self, batch: Batch, loss: Callable[[Batch], Tensor]) -> tuple[float, float]:
        """One step on a batch: its loss and the method's penalty."""
        for settings in self.optimizer.param_groups:
            settings["lr"] = settings["peak"] * self.schedule.share(self.step, self.steps)
        self.draw_anew()
        self.optimizer.zero_grad(set_to_none=True)
        (x, y), part = self.world.share(batch)
        value = loss((x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x, y))
        penalty = self.method.penalty()
        (value * part if penalty is None else value * part + penalty / self.world.size).backward()  # type: ignore[no-untyped-call]
        gradients = [p.grad for p in self.trained if p.grad is not None]
        mean = self._together(value.detach(), part, gradients)
        added = 0.0 if penalty is None else float(penalty.detach())
        norm = float(torch.nn.utils.get_total_norm(gradients))
        if not isfinite(mean + added + norm):
            raise EdgelrError("training diverged", f"the loss or its gradient is not finite at step {self.step + 1} of {self.steps}",
                              "check that the samples are finite, or lower the learning rate")
        if self.typical and norm > self.schedule.clip * self.typical:
            torch._foreach_mul_(gradients, self.schedule.clip * self.typical / norm)
            norm = self.schedule.clip * self.typical
        self.typical = NORM_MEMORY * self.typical + (1 - NORM_MEMORY) * norm if self.typical else norm
        self.optimizer.step()
        self.step += 1
        return mean, added

    def draw_anew(self) -> None:
        """A seed of its own for each step: what dropout draws doesn't depend on what was drawn before, so no generator is to be kept."""
        torch.default_generator.manual_seed(int(np.random.SeedSequence((self.seed, self.step, self.world.rank)).generate_state(1)[0]))

    def _together(self, value: Tensor, part: float, gradients: Sequence[Tensor]) -> float:
        """The loss of the whole batch; gradients and statistics become those of it. Batch norm normalises by each process's share,
        as is usual; the running mean that results is that of the batch, the running variance that within the shares.
        """
        if self.world.size == 1:
            return float(value)
        if statistics := self._statistics():
            torch._foreach_mul_(statistics, part)
        whole = value * part
        self.world.add([*gradients, *statistics, whole])
        return float(whole)

    def _statistics(self) -> list[Tensor]:
        return [t for name, t in self.others.items() if name.endswith(("running_mean", "running_var"))]

    def agree(self) -> None:
        """Weights and statistics become those of process 0: what processors of two kinds round differently doesn't add up."""
        self.world.copy([*self.trained, *self._statistics()])

    def saved(self, of: Mapping[str, str]) -> Saved:
        tensors = {f"trained.{i}": p for i, p in enumerate(self.trained)} | {f"net.{name}": t for name, t in self.others.items()}
        for i, p in enumerate(self.trained):
            tensors |= {f"optimizer.{i}.{k}": v for k, v in self.optimizer.state.get(p, {}).items() if isinstance(v, Tensor)}
        tensors |= {f"method.{name}": t for name, t in self.method.state().items()}
        return Saved(tensors, {"step": self.step, "typical": self.typical, "peaks": [s["peak"] for s in self.optimizer.param_groups]}, of)

    @torch.no_grad()
    def load(self, saved: Saved) -> None:
        """Go on from what was ``saved``; the method has been started."""
        self.step, self.typical = saved.numbers["step"], saved.numbers["typical"]
        for settings, peak in zip(self.optimizer.param_groups, saved.numbers["peaks"], strict=True):
            settings["peak"] = peak
        for i, p in enumerate(self.trained):
            p.copy_(saved.tensors[f"trained.{i}"])
            self.optimizer.state[p] = _under(saved.tensors, f"optimizer.{i}.")
        for name, t in self.others.items():
            t.copy_(saved.tensors[f"net.{name}"])
        self.method.load(_under(saved.tensors, "method."))


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def _others(net: nn.Module | None, trained: Sequence[Tensor]) -> dict[str, Tensor]:
    if net is None:
        return {}
    known = {id(p) for p in trained}
    return {name: t.detach() for name, t in (*net.named_parameters(), *net.named_buffers()) if id(t) not in known}
