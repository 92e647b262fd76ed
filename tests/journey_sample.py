"""A tiny trained network with its data, as the files that a user would have, and the command line run in this process."""

from __future__ import annotations

import io
import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

CLASSES, SIZE = 4, 8
NET = """
import torch
from torch import nn


def tiny():
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 48, 3, 2, padding=1, bias=False), nn.BatchNorm2d(48), nn.ReLU(),
        nn.Conv2d(48, 48, 3, padding=1, bias=False), nn.BatchNorm2d(48), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, 4))
"""
CONTRACT_FILES = {
    "model.int8.tflite",
    "model.int8.onnx",
    "model.safetensors",
    "plan.toml",
    "report.json",
    "report.html",
    "run.toml",
    "log.jsonl",
}
SHORT = ("--score-samples", "64", "--calibration-samples", "64")


def build() -> nn.Module:
    names: dict[str, object] = {}
    exec(NET, names)  # noqa: S102 (our own text above: the file and the object are one network)
    made = names["tiny"]()  # type: ignore[operator]
    assert isinstance(made, nn.Module)
    return made


def samples(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Stripes of one of four directions in noise: x float32 [n, 1, 8, 8], y int64 [n]."""
    draw = np.random.default_rng(seed)
    y = draw.integers(0, CLASSES, n)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    waves = np.stack([np.sin(1.6 * v) for v in (rows, columns, rows + columns, rows - columns)])
    x = waves[y] * draw.uniform(0.5, 1.5, (n, 1, 1)) + draw.normal(0, 0.9, (n, SIZE, SIZE))
    return x[:, None].astype(np.float32), y.astype(np.int64)


@cache
def trained() -> dict[str, Tensor]:
    """Weights after a second of training."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = build()
        optimiser = torch.optim.Adam(net.parameters(), 3e-3)
        x, y = (torch.from_numpy(v) for v in samples(512, 1))
        for step in range(48):
            part = slice(step % 8 * 64, step % 8 * 64 + 64)
            loss = F.cross_entropy(net(x[part]), y[part])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return {k: v.detach().clone() for k, v in net.eval().state_dict().items()}


def network() -> nn.Module:
    net = build()
    net.load_state_dict(trained())
    return net.eval()


def arrays() -> dict[str, np.ndarray]:
    return {
        f"{axis}_{part}": v
        for seed, (part, n) in enumerate((("train", 192), ("val", 128), ("test", 192)), 2)
        for axis, v in zip("xy", samples(n, seed), strict=True)
    }


def write_inputs(folder: Path) -> Path:
    """net.py, w.safetensors and d.npz, as a user has them."""
    (folder / "net.py").write_text(NET, encoding="utf-8")
    save_file(trained(), folder / "w.safetensors")
    np.savez(folder / "d.npz", **arrays())
    return folder


def words(folder: Path, *more: str) -> list[str]:
    """MODEL, --weights and --data of those files, and the words after them."""
    return [f"{folder}/net.py:tiny", "--weights", f"{folder}/w.safetensors", "--data", f"{folder}/d.npz", *more]


@dataclass(frozen=True)
class Done:
    """How a run of the command line ended."""

    code: int
    out: str
    err: str


def edgelr(*argv: str, columns: int = 80) -> Done:
    """The command line in this process: what it prints and the code it ends with."""
    from edgelr.cli import main

    out, err = io.StringIO(), io.StringIO()
    with (
        patch.object(sys, "argv", ["edgelr", *argv]),
        patch.dict(os.environ, {"COLUMNS": str(columns), "NO_COLOR": "1"}),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as ended:
            return Done(int(ended.code or 0), out.getvalue(), err.getvalue())
    raise AssertionError("main ends the process")
