"""The examples that the README points to run as they are."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import program


@pytest.mark.slow
def test_the_quickstart_and_the_command_in_it_run(root: Path, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    folder = shutil.copytree(root / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("out", "*.npz", "*.safetensors"))
    done = subprocess.run(
        [sys.executable, str(folder / "quickstart.py")], capture_output=True, text=True, check=False, cwd=tmp_path, timeout=200
    )
    assert done.returncode == 0, done.stderr
    assert all(b["met"] for b in json.loads((folder / "out" / "report.json").read_text("utf-8"))["budgets"])
    line = next(
        line.strip() for line in (folder / "quickstart.py").read_text("utf-8").splitlines() if line.strip().startswith("edgelr compress")
    )
    again = program(*line.split()[1:], cwd=folder)
    assert again.returncode == 0, again.stderr


def test_the_networks_of_the_examples_can_be_inspected(root: Path) -> None:
    done = program("inspect", "net.py:digit_net", "--input", "1x1x8x8", "--json", cwd=root / "examples")
    assert done.returncode == 0 and json.loads(done.stdout)["params"] == 56_554
