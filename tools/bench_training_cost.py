"""What each way of training costs: seconds and memory as multiples of plain training.

    OMP_NUM_THREADS=1 python tools/bench_training_cost.py --out docs/benchmarks/training-cost.md

ResNet-20 and VGG-16 on batches of CIFAR-10's shape (random: time doesn't depend on what they show), spatial pairs at a quarter of each
layer's break-even rank. Steps of all ways are interleaved in one process and told in its own CPU seconds, so that other work on the machine
disturbs little; what a method does now and then (singular vectors, C step, projection) is timed apart. Peak memory is that of a process
for each way.
"""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import torch
from bench_papers import loss_of
from bench_table import Cells, need, parser, publish, table, tell
from papers_data import module_of
from torch import Tensor, nn

from edgelr.factorize import break_even_rank, choice_cost, decompose, named_layers, rebuild
from edgelr.models import live
from edgelr.pipeline.source import Source, inspect
from edgelr.pipeline.training.recipes import Recipe
from edgelr.ranks import Table
from edgelr.training import (
    PLAIN,
    Batch,
    Bsr,
    BsrSettings,
    LcSettings,
    LearningCompression,
    Lrpet,
    LrpetSettings,
    Method,
    RankTuning,
    distillation,
    matrices,
)
from edgelr.training.rank_tuning import RankTuningSettings
from edgelr.training.schedule import optimizer_of
from edgelr.vocabulary import DENSE, Candidate, Choice, Plan

SHARE, BATCH, EPOCH = 0.25, 128, 351  # 45,000 images
NETS = {"resnet20": ("resnet_cifar", "resnet20"), "vgg16": ("vgg_cifar", "vgg16")}
EVERY_STEP = 1 << 30  # of a schedule: what comes now and then is called by hand


@dataclass
class Job:
    """A network and its plan."""

    source: Source

    @cached_property
    def choices(self) -> dict[str, list[Choice]]:
        """Ten spatial ranks of each layer, up to break-even."""
        found = {}
        for layer in self.source.layers:
            if "spatial" in layer.schemes:
                most = break_even_rank(layer, "spatial", "macs")
                found[layer.name] = [Choice("spatial", r) for r in sorted({max(1, most * i // 10) for i in range(1, 11)})]
        return found

    @cached_property
    def plan(self) -> Plan:
        return Plan({n: Choice("spatial", max(1, round(SHARE * (found[-1].rank or 1)))) for n, found in self.choices.items()})

    @cached_property
    def table(self) -> Table:
        layers = {w.name: w for w in self.source.layers}
        return {n: tuple(Candidate(c, {"macs": float(choice_cost(layers[n], c)[1] or 0)}, 0.0) for c in (DENSE, *found))
                for n, found in self.choices.items()}  # fmt: skip

    def factors(self) -> nn.Module:
        """The network with pairs and live batch norms."""
        layers = named_layers(self.source.folded)
        made = {(n, c.scheme): decompose(layers[n], c.scheme) for n, c in self.plan.factorised().items()}
        norms = {layer: self.source.plain.get_submodule(norm) for layer, norm in self.source.norms.items()}
        return live(rebuild(self.source.folded, self.plan, made), norms)


class Running:
    """One way of training, a step at a time. ``extra`` is the work that comes now and then."""

    def __init__(self, job: Job, way: str) -> None:
        self.net = (job.factors() if way == "factors" else copy.deepcopy(job.source.plain)).requires_grad_(True).train()
        self.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.loss: Callable[[Batch], Tensor] = loss_of(self.net)
        if way == "distillation":
            self.loss = self._distilled(job.source.model)
        self.optimizer = optimizer_of([(0.01, list(self.net.parameters()))], Recipe().schedule(1))
        self.method = self._method(job, way)
        self.method.start(EPOCH, self.optimizer)
        if isinstance(self.method, RankTuning):
            self.method.step = 1  # at step 0 it would renew its gradients each time

    def _distilled(self, teacher: nn.Module) -> Callable[[Batch], Tensor]:
        def bf16(net: nn.Module) -> Callable[[Tensor], Tensor]:
            def run(x: Tensor) -> Tensor:
                with torch.autocast("cpu", torch.bfloat16):
                    made: Tensor = net(x)
                return made.float()

            return run

        return distillation(bf16(self.net), bf16(copy.deepcopy(teacher).eval()), "scores", 2.0)

    def _method(self, job: Job, way: str) -> Method:
        if way in ("plain", "distillation", "factors"):
            return PLAIN
        if way == "lc":
            costs = {n: cs[0].costs["macs"] for n, cs in job.table.items()}
            limit = {"macs": SHARE * sum(costs.values())}
            return LearningCompression(self.net, job.table, limit, {}, LcSettings(EVERY_STEP, 1.0, 1.0))
        aims = matrices(self.net, job.plan)
        if way.startswith("bsr"):
            return Bsr(aims, BsrSettings(1.0, 1 if way == "bsr1" else 2, refresh=EVERY_STEP, ramp=0))
        if way == "rank-tuning":
            return RankTuning(aims, RankTuningSettings(1e-3, (-1.0, 0.0), every=0, refresh=EVERY_STEP))
        norms = {layer: self.net.get_submodule(norm) for layer, norm in job.source.norms.items()}
        return Lrpet(aims, norms, LrpetSettings(every=0))

    def take(self, batch: Batch) -> float:
        """A step; CPU seconds."""
        begun = time.process_time()
        penalty = self.method.penalty()
        loss = self.loss(batch)
        (loss if penalty is None else loss + penalty).backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return time.process_time() - begun

    def extra(self) -> float:
        """What comes now and then; CPU seconds."""
        begun = time.process_time()
        method = self.method
        if isinstance(method, Bsr):
            method.after_step(EVERY_STEP)
        elif isinstance(method, Lrpet):
            method.project()
        elif isinstance(method, LearningCompression):
            method.after_step(method.every)
        elif isinstance(method, RankTuning):
            method.step = 0
            method.penalty()
            method.step = 1
        return time.process_time() - begun


WAYS = {  # title, and how often the extra work comes in an epoch
    "plain": ("plain training", {}),
    "distillation": ("distillation from the dense network", {}),
    "factors": (f"fine-tuning of factors at {SHARE:.0%}", {}),
    "bsr1": ("modified stable rank, exponent 1", {"every 20 steps": EPOCH / 20}),
    "bsr2": ("modified stable rank, exponent 2", {"every 20 steps": EPOCH / 20}),
    "lc": ("learning-compression", {"a C step an epoch": 1.0, "a C step every 20 steps": EPOCH / 20}),
    "lrpet": ("LRPET", {"a projection an epoch": 1.0, "every 100 steps": EPOCH / 100}),
    "rank-tuning": ("nuclear norm (Rank-Tuning)", {"every 4 steps": EPOCH / 4}),
}  # fmt: skip


def job_of(name: str, shared: Path) -> Job:
    torch.manual_seed(0)
    file, build = NETS[name]
    net = getattr(module_of(shared / "models" / f"{file}.py"), build)()
    return Job(inspect(name, net.eval(), (3, 32, 32)))


def batch_of(size: int) -> Batch:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(size, 3, 32, 32, generator=generator).contiguous(memory_format=torch.channels_last)
    return x, torch.randint(0, 10, (size,), generator=generator)


def timed(name: str, shared: Path, rounds: int, size: int) -> dict[str, Any]:
    """CPU seconds of every step and extra, by way."""
    job, batch = job_of(name, shared), batch_of(size)
    running = {way: Running(job, way) for way in WAYS}
    for way in running.values():
        way.take(batch)
    found: dict[str, Any] = {way: {"step": [], "extra": []} for way in running}
    for number in range(rounds):
        for title, way in running.items():
            found[title]["step"].append(way.take(batch))
            if WAYS[title][1] and number < max(2, rounds // 3):
                found[title]["extra"].append(way.extra())
        tell(f"{name}: round {number + 1} of {rounds}")
    return found


def peak(name: str, way: str, shared: Path, size: int) -> float:
    """MB of a process that does nothing else."""
    words = [sys.executable, __file__, "--child", name, way, "--shared", str(shared), "--size", str(size)]
    return float(json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout))


def child(name: str, way: str, shared: Path, size: int) -> None:
    running, batch = Running(job_of(name, shared), way), batch_of(size)
    for _ in range(2):
        running.take(batch)
        running.extra()
    # Not getrusage: what it tells begins with the peak of the process that started this one.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    print(json.dumps(int(status.split("VmHWM:")[1].split()[0]) / 1024))


def rows_of(times: dict[str, Any], memory: dict[str, float]) -> list[tuple[str, ...]]:
    plain = median(times["plain"]["step"])
    rows: list[tuple[str, ...]] = []
    for way, (title, often) in WAYS.items():
        steps, extras = times[way]["step"], times[way]["extra"]
        low, high = (quantiles(steps, n=10)[i] for i in (0, 8))
        extra = median(extras) if extras else 0.0
        cost = median(steps)
        multiples = [f"{(cost + n * extra / EPOCH) / plain:.2f} ({when})" for when, n in often.items()] or [f"{cost / plain:.2f}"]
        told = (title, f"{cost:.3f} ({low:.3f} to {high:.3f})", f"{cost / plain:.2f}", f"{extra:.3f}" if extras else "")
        rows.append((*told, ", ".join(multiples), f"{memory[way]:,.0f} ({memory[way] / memory['plain']:.2f})"))
    return rows


def main() -> None:
    options = parser(__doc__, "training-cost")
    options.add_argument("--child", nargs=2, help="measure one way's memory: for this tool's own use")
    options.add_argument("--size", type=int, default=BATCH, help="images a batch")
    options.add_argument("--net", choices=list(NETS), action="append", help="only this network")
    chosen = options.parse_args()
    torch.set_num_threads(1)
    need(chosen.shared, *(f"models/{file}.py" for file, _ in NETS.values()))
    if chosen.child:
        child(chosen.child[0], chosen.child[1], chosen.shared, chosen.size)
        return
    rounds, size = (3, 8) if chosen.quick else (12, chosen.size)
    cells = Cells(chosen.out, {"rounds": rounds, "size": size, "torch": torch.__version__})
    pages = []
    for name in chosen.net or NETS:
        times = cells.cell(f"{name} times", lambda name=name: timed(name, chosen.shared, rounds, size))
        memory = {w: cells.cell(f"{name} {w} MB", lambda name=name, w=w: peak(name, w, chosen.shared, size)) for w in WAYS}
        head = ("training", "CPU s a step: median (10 % to 90 %)", "of plain", "now and then: CPU s each", "an epoch, of a plain epoch",
                "peak MB (of plain)")  # fmt: skip
        pages += [f"## {name}", table(head, rows_of(times, memory))]
    publish(
        chosen.out,
        "What each way of training costs",
        sum(cells.seconds.values()),
        chosen.quick,
        f"Measured: batches of {size} random images of 3 x 32 x 32, the network in bfloat16 (autocast), channels last, SGD with Nesterov's "
        f"momentum; {rounds} steps of each way, interleaved. Spatial pairs at {SHARE:.0%} of each layer's break-even rank. Seconds are of "
        f"the process's own CPU time on one thread. An epoch is {EPOCH} steps (45,000 images of CIFAR-10 at 128); its multiple holds the "
        "work that comes now and then. Peak memory is of a process that does one way alone, Python and torch included.",
        *pages,
    )
    cells.finish()


if __name__ == "__main__":
    main()
