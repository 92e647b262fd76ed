"""The main job, done once as a user does it: from the command line, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from journey_sample import SHORT, words, write_inputs


@dataclass(frozen=True)
class MainJob:
    """The folder with the inputs, the folder that was written, and what was printed. The run was asked for --json."""

    inputs: Path
    out: Path
    stdout: str
    stderr: str


def program(*argv: str, cwd: Path, seconds: float = 120, **environment: str) -> subprocess.CompletedProcess[str]:
    """The program as a user starts it."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "80", **environment}
    return subprocess.run(
        [sys.executable, "-m", "edgelr", *argv], capture_output=True, text=True, check=False, cwd=cwd, env=env, timeout=seconds
    )


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="session")
def main_job(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> MainJob:
    out = tmp_path_factory.mktemp("runs") / "out"
    done = program(
        "compress", *words(inputs), "--budget", "50%KB", "--allow-slower", "-o", str(out), *SHORT, "--json", cwd=inputs, PYTHONHASHSEED="1"
    )
    assert done.returncode == 0, done.stderr
    return MainJob(inputs, out, done.stdout, done.stderr)
