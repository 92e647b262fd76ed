"""Rank-Tuning as users call it: by a tolerated loss, or within a budget; and what can't be asked."""
from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from journey_sample import arrays, edgelr, network
from torch import Tensor, nn
from torch.nn import functional as F

from edgelr import Data, Split, UsageError, compress, load
from edgelr.pipeline import Settings, parse_budget
from edgelr.report import Report

FEW = {"method": "rank-tuning", "score_samples": 128, "calibration_samples": 64, "allow_slower": True}


@cache
def images() -> Data:
    a = arrays()
    train, validation, test = (Split(a[f"x_{p}"], a[f"y_{p}"]) for p in ("train", "val", "test"))
    return Data(train, validation, test, calibration=train)


def accuracy(net: nn.Module, split: Split | None) -> float:
    assert split is not None and split.y is not None
    with torch.no_grad():
        return float((net(torch.from_numpy(np.asarray(split.x))).argmax(1).numpy() == split.y).mean())


def ranks(report: Report) -> dict[str, int]:
    return {line.name: line.rank for line in report.layers if line.rank is not None}


def test_the_plan_loses_no_more_of_the_held_out_score_than_is_tolerated(tmp_path: Path) -> None:
    dense = accuracy(network(), images().validation)
    sizes = []
    for points in (0.0, 3.0):
        out = tmp_path / f"{points:g}"
        report = compress(network(), images(), max_loss=points, out=out, **FEW)  # type: ignore[arg-type]
        assert accuracy(load(out, network()), images().validation) >= dense - points / 100 - 1e-9
        assert report.search is not None and report.search.method == "rank-tuning" and report.search.evaluations > 1
        assert report.search.bound is None and not report.budgets
        sizes.append(sum(line.bytes for line in report.layers))
    assert ranks(report) and sizes[0] >= sizes[1]


def test_within_a_budget(tmp_path: Path) -> None:
    report = compress(network(), images(), budget="55%params", out=tmp_path / "o", **FEW)  # type: ignore[arg-type]
    assert report.met and ranks(report) and report.search is not None and report.search.bound is not None


class Tagger(nn.Module):
    def __init__(self, kind: type[nn.LSTM | nn.GRU]) -> None:
        super().__init__()
        self.seq, self.head = kind(6, 40, batch_first=True), nn.Linear(40, 4)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.seq(x)[0][:, -1])
        return y


def waves(n: int, seed: int) -> Split:
    """Waves of one of four speeds in noise."""
    draw = np.random.default_rng(seed)
    y = draw.integers(0, 4, n)
    clean = np.sin(np.arange(10)[:, None] * (0.4 + 0.5 * y[:, None, None]) + draw.uniform(0, 6.3, (n, 1, 6)))
    return Split((clean + draw.normal(0, 0.2, clean.shape)).astype(np.float32), y.astype(np.int64))


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_a_recurrent_networks_files_keep_their_factors(kind: type[nn.LSTM | nn.GRU], tmp_path: Path) -> None:
    torch.manual_seed(0)
    net, train = Tagger(kind), waves(512, 1)
    optimiser = torch.optim.Adam(net.parameters(), 5e-3)
    x, y = torch.from_numpy(np.asarray(train.x)), torch.from_numpy(np.asarray(train.y))
    for step in range(120):
        part = slice(step % 8 * 64, step % 8 * 64 + 64)
        loss = F.cross_entropy(net(x[part]), y[part])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    data = Data(train, waves(128, 2), waves(128, 3), calibration=train)
    settings: dict[str, Any] = {**FEW, "schemes": ("recurrent",), "formats": ("onnx",), "numbers": "dynamic"}
    report = compress(net.eval(), data, max_loss=3.0, out=tmp_path / "o", **settings)
    found = ranks(report)
    assert "seq.weight_hh_l0" in found and max(found.values()) < 30
    assert accuracy(load(tmp_path / "o", net), data.validation) >= accuracy(net, data.validation) - 0.03 - 1e-9
    weights = sum(np.prod(line.shape) for line in report.layers if line.name in found)
    factors = sum(rank * sum(line.shape) for line in report.layers if (rank := found.get(line.name)))
    saved = report.dense[0].bytes - report.artifacts[0].bytes  # of int8 weights, less what a loop over the steps takes to spell
    assert saved > 0.5 * (weights - factors) > 0


def test_what_cannot_be_asked_is_told(tmp_path: Path) -> None:
    for settings, told in (
        ({"max_loss": 1.0}, "--method rank-tuning"),
        ({"max_loss": 1.0, "method": "rank-tuning", "budgets": (parse_budget("50%KB"),)}, "both"),
        ({"max_loss": -1.0, "method": "rank-tuning"}, "no bound"),
    ):
        with pytest.raises(UsageError) as error:
            Settings(**settings)  # type: ignore[arg-type]
        assert told in str(error.value)
    with pytest.raises(UsageError, match="no budget"):
        compress(network(), images(), method="rank-tuning")
    lone = edgelr("compress", "net.py:tiny", "--data", "d.npz", "-o", str(tmp_path / "o"), "--max-loss", "1")
    assert lone.code == 2 and "--max-loss" in lone.err and "rank-tuning" in lone.err
    neither = edgelr("compress", "net.py:tiny", "--data", "d.npz", "-o", str(tmp_path / "o"), "--method", "rank-tuning")
    assert neither.code == 2 and "no budget" in neither.err


def test_a_network_that_bears_nothing_stays_dense_and_says_so() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(64, 64)).eval()
        x = torch.randn(96, 64)
        with torch.no_grad():
            nn.init.orthogonal_(net[0].weight)  # a flat spectrum: no rank is near
            y = net(x).argmax(1).numpy()
    part, told = Split(x.numpy(), y), list[str]()
    report = compress(net, Data(part, part, part, calibration=part), max_loss=1.0, tell=told.append, **FEW)  # type: ignore[arg-type]
    assert not ranks(report) and any("nothing can be truncated" in line for line in told)
