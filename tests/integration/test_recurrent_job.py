"""The main job for recurrent networks: gate matrices factorised to a budget, files that meet it, and a network that loads again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import edgelr
from edgelr.pipeline import Settings, compress, parse_budget
from edgelr.pipeline.plans import read_plan
from edgelr.report import Report

STEPS, FEATURES, CLASSES = 12, 6, 4


class Tagger(nn.Module):
    def __init__(self, kind: type[nn.LSTM | nn.GRU], hidden: int) -> None:
        super().__init__()
        self.seq = kind(FEATURES, hidden, batch_first=True)
        self.head = nn.Linear(hidden, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.seq(x)[0][:, -1])


def samples(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Waves of one of four speeds in noise: x float32 [n, STEPS, FEATURES], y int64 [n]."""
    draw = np.random.default_rng(seed)
    y = draw.integers(0, CLASSES, n)
    phases = draw.uniform(0, 6.3, (n, 1, FEATURES))
    waves = np.sin(np.arange(STEPS)[:, None] * (0.4 + 0.5 * y[:, None, None]) + phases)
    return (waves + draw.normal(0, 0.3, waves.shape)).astype(np.float32), y.astype(np.int64)


def trained(kind: type[nn.LSTM | nn.GRU], hidden: int) -> nn.Module:
    """After two seconds of training."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Tagger(kind, hidden)
        optimiser = torch.optim.Adam(net.parameters(), 5e-3)
        x, y = (torch.from_numpy(v) for v in samples(512, 1))
        for step in range(160):
            part = slice(step % 8 * 64, step % 8 * 64 + 64)
            loss = F.cross_entropy(net(x[part]), y[part])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return net.eval()


def job(kind: type[nn.LSTM | nn.GRU], hidden: int, budget: str, out: Path) -> tuple[nn.Module, Report]:
    data = out.parent / "d.npz"
    made = {part: samples(160, seed) for seed, part in enumerate(("train", "val", "test"), 2)}
    np.savez(data, **{f"{axis}_{part}": v for part, both in made.items() for axis, v in zip("xy", both, strict=True)})
    net = trained(kind, hidden)
    settings = Settings(
        data=str(data),
        budgets=(parse_budget(budget),),
        out=str(out),
        score_samples=128,
        calibration_samples=64,
        allow_slower=True,
        method="additive",
    )
    return net, compress(settings, model=net)


@pytest.mark.parametrize(("kind", "hidden", "budget"), [(nn.GRU, 48, "50%params"), (nn.LSTM, 128, "60%KB")])
def test_a_recurrent_network_meets_its_budget_in_factors_and_loads_again(
    kind: type[nn.LSTM], hidden: int, budget: str, tmp_path: Path
) -> None:
    net, report = job(kind, hidden, budget, tmp_path / "out")
    assert all(line.met for line in report.budgets)
    gates = [line for line in report.layers if line.kind == "recurrent"]
    assert [line.name for line in gates] == ["seq.weight_ih_l0", "seq.weight_hh_l0"]
    chosen = [line for line in gates if line.scheme in ("recurrent", "gates")]
    assert chosen

    x, y = samples(160, 4)
    scores = {stage.name: stage.score.value for stage in report.stages if stage.score is not None}
    assert scores["source"] > 0.9 and scores["quantized"] > 0.8

    plan, _ = read_plan(tmp_path / "out" / "plan.toml")
    assert {line.name for line in chosen} <= set(plan.factorised())
    small = edgelr.load(tmp_path / "out", net)
    counted = next(stage.params for stage in report.stages if stage.name == "factorized")
    assert sum(p.numel() for p in small.parameters()) == counted
    with torch.no_grad():
        right = float((small(torch.from_numpy(x)).argmax(1) == torch.from_numpy(y)).double().mean())
    assert right == pytest.approx(scores["factorized"], abs=0.01)
