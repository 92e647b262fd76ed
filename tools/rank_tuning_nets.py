"""The networks of bench_rank_tuning.py, on HAPT and FSDD: trained plainly, or with Rank-Tuning's adaptations over equal epochs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recurrent_nets import SHARED, UNSEEN_SPEAKERS, SequenceNet, _log_mel, accuracy, hapt
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from edgelr.data import Data, Split
from edgelr.factorize import gate_matrices, matrix_view, max_rank
from edgelr.training import PLAIN, Method, RankTuning, Schedule, Shuffled, matrices, train
from edgelr.training.rank_tuning import RankTuningSettings, of_rank
from edgelr.vocabulary import Choice, Plan

HELD_OUT_SPEAKER = "lucas"
RATE, BATCH = 2e-3, 64
TUNE_RATE = 5e-4  # of factors, which were trained already
PROJECTED = 20 / 150  # the paper's rank for its units
TRAININGS = {"plain": 0.0, "adapted": 1e-3, "adapted, ten times": 1e-2}  # the weight of the nuclear norm; 1e-3 is the authors'


@dataclass(frozen=True)
class Net:
    """``task`` hapt or fsdd; ``kind`` lstm or gru; ``epochs`` of either training, ``tune_epochs`` of the factors."""

    task: str
    kind: str
    hidden: int
    layers: int
    epochs: int
    tune_epochs: int
    bidirectional: bool = False

    @property
    def name(self) -> str:
        both = "bi-" if self.bidirectional else ""
        return f"{self.task.upper()}, {both}{self.kind.upper()} {self.hidden}x{self.layers}"


NETS = {
    "lstm64": Net("hapt", "lstm", 64, 2, 15, 2),
    "gru128": Net("fsdd", "gru", 128, 2, 40, 4),
    "lstm128": Net("hapt", "lstm", 128, 2, 10, 2),
    "bigru150": Net("fsdd", "gru", 150, 3, 30, 3, True),
}


class DeepNet(nn.Module):
    """The paper's for DOCC10: three bidirectional layers with dropout 0.5, and a linear layer on the mean of all steps."""

    def __init__(self, kind: str, features: int, hidden: int, layers: int, classes: int) -> None:
        super().__init__()
        module = nn.LSTM if kind == "lstm" else nn.GRU
        self.rnn = module(features, hidden, layers, batch_first=True, bidirectional=True, dropout=0.5)
        self.head = nn.Linear(2 * hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.head(self.rnn(x)[0].mean(1))
        return result


def built(net: Net) -> nn.Module:
    features, classes = (6, 6) if net.task == "hapt" else (40, 10)
    if net.bidirectional:
        return DeepNet(net.kind, features, net.hidden, net.layers, classes)
    return SequenceNet(net.kind, features, net.hidden, classes)


@cache
def data_of(task: str) -> Data:
    """HAPT: users apart (recurrent_nets.hapt). FSDD: two speakers for the test, one held out of the four others."""
    if task == "hapt":
        return hapt().data
    with np.load(SHARED / "fsdd.npz") as held:
        audio, offsets, digit, speaker = held["audio"], held["offsets"], held["digit"].astype(np.int64), held["speaker"]
    x = np.stack([_log_mel(audio[a:b].astype(np.float32) / 32768) for a, b in pairwise(offsets)])
    test, validation = np.isin(speaker, UNSEEN_SPEAKERS), speaker == HELD_OUT_SPEAKER
    fit = ~test & ~validation
    x = x - x.mean(1, keepdims=True)  # each recording's own colour of voice and room, band by band
    x = (x - x[fit].mean((0, 1))) / x[fit].std((0, 1))
    parts = [Split(x[m], digit[m]) for m in (fit, validation, test)]
    return Data(parts[0], parts[1], parts[2], calibration=parts[0])


def augment(task: str) -> Callable[[Tensor, torch.Generator], Tensor]:
    """Noise; for speech also another pitch, begin and loudness, without which nothing of three speakers holds for a fourth."""

    def noisy(x: Tensor, generator: torch.Generator) -> Tensor:
        return x + 0.1 * torch.randn(x.shape, generator=generator)

    def voices(x: Tensor, generator: torch.Generator) -> Tensor:
        bands = torch.randint(-4, 5, (len(x),), generator=generator).tolist()
        steps = torch.randint(-6, 7, (len(x),), generator=generator).tolist()
        moved = torch.stack([torch.roll(one, move, (0, 1)) for one, move in zip(x, zip(steps, bands, strict=True), strict=True)])
        gain, level = (torch.randn(len(x), 1, 1, generator=generator) for _ in range(2))
        return moved * (1 + 0.12 * gain) + 0.3 * level + 0.2 * torch.randn(x.shape, generator=generator)

    return noisy if task == "hapt" else voices


def gate_names(model: nn.Module) -> list[str]:
    return [f"rnn.{name}" for name in gate_matrices(model.get_submodule("rnn"))]


def adapted(model: nn.Module, net: Net, weight: float) -> Method:
    """The training adaptations on every gate matrix; all are cut to one rank, as in the paper."""
    found = matrices(model, Plan({name: Choice("recurrent", 1) for name in gate_names(model)}))
    return RankTuning(of_rank(found, projected(net)), RankTuningSettings(weight=weight))


def projected(net: Net) -> int:
    """The rank of the projections in training."""
    return round(PROJECTED * net.hidden)


def fit(model: nn.Module, net: Net, rate: float, epochs: int, seed: int, method: Method, told: str) -> None:
    split = data_of(net.task).train
    assert split is not None
    batches = Shuffled(split.x, split.y, BATCH, seed, augment(net.task))
    torch.manual_seed(seed)  # of dropout
    model.train()
    train([(rate, list(model.parameters()))], lambda batch: F.cross_entropy(model(batch[0]), _labels(batch[1])), batches, Schedule(epochs),
          lambda progress: print(f"{told}: {progress}", flush=True), method=method)
    model.eval()


def _labels(y: Tensor | None) -> Tensor:
    assert y is not None
    return y


def trained(net: Net, seed: int, weight: float, file: Path) -> tuple[nn.Module, float]:
    """The network from ``file``, or trained and put there, and the seconds this took. ``weight`` of the nuclear norm; 0: plain training."""
    torch.manual_seed(seed)
    model = built(net)
    if not file.is_file():
        begun = time.perf_counter()
        fit(model, net, RATE, net.epochs, seed, adapted(model, net, weight) if weight else PLAIN, file.stem)
        file.parent.mkdir(parents=True, exist_ok=True)
        took = {"seconds": f"{time.perf_counter() - begun:.1f}"}
        save_file({k: v.contiguous() for k, v in model.state_dict().items()}, file, took)
    model.load_state_dict(load_file(file))
    with safe_open(file, "pt") as held:  # type: ignore[no-untyped-call]
        return model.eval(), float(held.metadata()["seconds"])


def facts(model: nn.Module, net: Net) -> dict[str, Any]:
    """Accuracy on held-out and on test samples, the nuclear norms' sum, and the rank that holds 99 % of each matrix's energy."""
    data = data_of(net.task)
    assert data.validation is not None and data.test is not None
    spectra = [torch.linalg.svdvals(matrix_view(g.weight, "recurrent", 1)[0]) for g in gate_matrices(model.get_submodule("rnn")).values()]
    ranks = [int((torch.cumsum(s**2, 0) < 0.99 * (s**2).sum()).sum()) + 1 for s in spectra]
    full = [max_rank(g.weight.shape, "recurrent", 1) for g in gate_matrices(model.get_submodule("rnn")).values()]
    return {"validation": accuracy(model, data.validation), "test": accuracy(model, data.test),
            "nuclear": float(sum(s.sum() for s in spectra)), "ranks99": ranks, "full": full}
