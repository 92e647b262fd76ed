"""What all tests share: one thread, one seed, reproducible hypothesis, and the way to real data where it is at hand."""
from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent

# Timings differ between machines, so no deadlines; the same examples each time, so that a failure can be run again.
settings.register_profile("edgelr", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("edgelr")


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seed() -> None:
    random.seed(0)
    np.random.seed(0)  # libraries under test may read the old global generator
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and reference networks (EDGELR_SHARED, or ``shared`` beside the checkout); skips where it is absent."""
    path = Path(os.environ.get("EDGELR_SHARED", ROOT.parent / "shared"))
    if not (path / "data").is_dir():
        pytest.skip("no folder of real data beside the checkout")
    return path
