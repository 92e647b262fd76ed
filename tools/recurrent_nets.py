"""The recurrent networks of the benchmarks, and their data: an LSTM on HAPT (activity from a phone's sensors), a GRU on FSDD (digits).

`python tools/recurrent_nets.py --cache FOLDER` trains what the folder lacks (one network a file); other tools read them from there.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from edgelr.data import Data, Split

SHARED = Path(__file__).parents[2] / "shared" / "data"
HAPT_TEST_USERS = (2, 4, 9, 10, 12, 13, 18, 20, 24)
HAPT_VALIDATION_USERS = (1, 8, 15)
UNSEEN_SPEAKERS = ("theo", "nicolas")
SIZES = (64, 128, 256, 512)
EPOCHS = {("lstm", 64): 12, ("lstm", 128): 8, ("lstm", 256): 4, ("lstm", 512): 1}  # a GRU on FSDD: 15
GRU_EPOCHS = 15


class SequenceNet(nn.Module):
    """Two recurrent layers, and a linear layer on the last step: [batch, time, features] -> [batch, classes]."""

    def __init__(self, kind: str, features: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.rnn = (nn.LSTM if kind == "lstm" else nn.GRU)(features, hidden, 2, batch_first=True)
        self.head = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.head(self.rnn(x)[0][:, -1])
        return result


@dataclass(frozen=True)
class Task:
    """``kind`` lstm or gru, its data, and the shape of its samples."""

    kind: str
    name: str
    data: Data
    features: int
    classes: int

    def net(self, hidden: int) -> SequenceNet:
        return SequenceNet(self.kind, self.features, hidden, self.classes)


def hapt() -> Task:
    """Windows of 128 steps of 6 sensors, standardised; users apart: test as published, three others for validation."""
    with np.load(SHARED / "hapt_windows.npz") as held:
        x, y, subject = held["x"].astype(np.float32), held["y"].astype(np.int64), held["subject"]
    y = y - y.min()
    test, validation = np.isin(subject, HAPT_TEST_USERS), np.isin(subject, HAPT_VALIDATION_USERS)
    train = ~test & ~validation
    x = (x - x[train].mean((0, 1))) / x[train].std((0, 1))
    parts = [Split(x[m], y[m]) for m in (train, validation, test)]
    return Task("lstm", "HAPT", Data(parts[0], parts[1], parts[2], calibration=_some(parts[0])), 6, int(y.max()) + 1)


def fsdd() -> Task:
    """One second as 50 steps of 40 log-mel bands, standardised; theo and nicolas are the test set, a tenth of the others validation."""
    with np.load(SHARED / "fsdd.npz") as held:
        audio, offsets, digit, speaker = held["audio"], held["offsets"], held["digit"].astype(np.int64), held["speaker"]
    x = np.stack([_log_mel(audio[a:b].astype(np.float32) / 32768) for a, b in pairwise(offsets)])
    test = np.isin(speaker, UNSEEN_SPEAKERS)
    held_out = np.random.default_rng(0).random(len(x)) < 0.1
    train, validation = ~test & ~held_out, ~test & held_out
    x = (x - x[train].mean((0, 1))) / x[train].std((0, 1))
    parts = [Split(x[m], digit[m]) for m in (train, validation, test)]
    return Task("gru", "FSDD, unseen speakers", Data(parts[0], parts[1], parts[2], calibration=_some(parts[0])), 40, 10)


def _some(split: Split, count: int = 512) -> Split:
    return split.take(np.sort(np.random.default_rng(1).permutation(len(split))[:count]))


def _log_mel(wave: np.ndarray, rate: int = 8000, window: int = 256, hop: int = 160, bands: int = 40) -> np.ndarray:
    """[50, bands] of the first second, zeros after its end."""
    padded = np.zeros(rate + window - hop, np.float32)
    padded[: min(len(wave), rate)] = wave[:rate]
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop][:50]
    power = np.abs(np.fft.rfft(frames * np.hanning(window), axis=1)) ** 2
    edges = 700 * (10 ** (np.linspace(2595 * np.log10(1 + 20 / 700), 2595 * np.log10(1 + rate / 2 / 700), bands + 2) / 2595) - 1)
    bins = np.fft.rfftfreq(window, 1 / rate)
    rising = (bins[None] - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins[None]) / (edges[2:] - edges[1:-1])[:, None]
    return np.asarray(np.log(power @ np.clip(np.minimum(rising, falling), 0, None).T + 1e-6), np.float32)


def trained(task: Task, hidden: int, cache: Path) -> SequenceNet:
    """The network from the cache, or trained and put there."""
    net = task.net(hidden)
    file = cache / f"{task.kind}-{hidden}.safetensors"
    if not file.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(0)
        net = task.net(hidden)
        _train(net, task, EPOCHS.get((task.kind, hidden), GRU_EPOCHS))
        save_file({k: v.contiguous() for k, v in net.state_dict().items()}, file)
    net.load_state_dict(load_file(file))
    return net.eval()


def _train(net: nn.Module, task: Task, epochs: int) -> None:
    train = task.data.train
    assert train is not None and train.y is not None
    x, y = torch.from_numpy(np.array(train.x[:])), torch.from_numpy(train.y)
    size, start = 64, time.time()
    steps = epochs * (len(x) // size)
    peak = 2e-3 if sum(p.numel() for p in net.parameters()) < 2e6 else 5e-4  # an LSTM-512x2 at 2e-3 learns next to nothing
    optimiser = torch.optim.Adam(net.parameters(), peak)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, peak, steps)
    for epoch in range(epochs):
        for part in torch.randperm(len(x))[: len(x) // size * size].split(size):
            noisy = x[part] + 0.1 * torch.randn_like(x[part])
            loss = F.cross_entropy(net(noisy), y[part])
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            schedule.step()
        print(f"{task.kind} epoch {epoch + 1} of {epochs}: loss {float(loss.detach()):.3f}, {time.time() - start:.0f} s", flush=True)


def accuracy(net: nn.Module, split: Split) -> float:
    """The share of samples classified right."""
    assert split.y is not None
    with torch.no_grad():
        return float(np.mean(np.concatenate([net(x).argmax(1).numpy() for x, _ in split.batches(256)]) == split.y))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    options = parser.parse_args()
    for task in (fsdd(), hapt()):
        for hidden in options.sizes:
            net = trained(task, hidden, options.cache)
            assert task.data.test is not None
            print(f"{task.name} {task.kind}-{hidden}x2: test accuracy {accuracy(net, task.data.test):.4f}", flush=True)


if __name__ == "__main__":
    main()
