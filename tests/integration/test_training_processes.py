"""Training as processes see it: killed and run again; started several times by torchrun."""
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lowrank_sample import accuracy, small_net
from resumed_sample import EPOCHS, SAMPLES, SIZE, Fit, main, net_without_norms
from safetensors.torch import load_file

from edgelr.training import ALONE

PROGRAM = Path(__file__).resolve().parents[1] / "resumed_sample.py"
STEPS = EPOCHS * SAMPLES // SIZE
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def trained(state: Path, out: Path, kill_at: int | None = None) -> int:
    """Runs the program, killed after a step where told; how many steps it took."""
    with subprocess.Popen([sys.executable, PROGRAM, "train", state, out], stdout=subprocess.PIPE, env=ENVIRONMENT) as program:
        assert program.stdout is not None
        steps = 0
        for _ in program.stdout:
            steps += 1
            if steps == kill_at:
                program.kill()
    assert (program.returncode == 0) == (kill_at is None)
    return steps


def test_killed_in_the_middle_and_run_again_it_ends_in_the_same_bytes(tmp_path: Path) -> None:
    trained(tmp_path / "state", tmp_path / "out", kill_at=27)  # of 60, in the second epoch
    left = trained(tmp_path / "state", tmp_path / "out")
    assert STEPS - 27 <= left < STEPS
    main("train", str(tmp_path / "whole"), str(tmp_path / "wanted"))
    assert (tmp_path / "out").read_bytes() == (tmp_path / "wanted").read_bytes()
    assert sorted(f.name for f in tmp_path.iterdir()) == ["out", "state", "wanted", "whole"]


def together(out: Path, *works: str) -> subprocess.CompletedProcess[str]:
    """Two processes, started by torchrun."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", PROGRAM, "together", out, *works]
    return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=200)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """What two processes made, one work after another, and what they said."""
    out = tmp_path_factory.mktemp("two") / "out"
    done = together(out, "plain", "waits", "diverges", "misses", "norms", "low-rank", "norms")  # the second time from its checkpoint
    assert done.returncode == 0, done.stderr[-3000:]
    return out, done.stdout


def test_two_processes_end_with_the_same_weights_and_statistics(two: tuple[Path, str]) -> None:
    for kind in ("plain", "norms", "low-rank"):
        first, second = (load_file(f"{two[0]}.{kind}.{rank}") for rank in (0, 1))
        assert all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.parametrize("kind", ["plain", "low-rank"])
def test_two_processes_train_as_one_does(kind: str, two: tuple[Path, str], tmp_path: Path) -> None:
    Fit(kind, str(tmp_path / "one")).run(ALONE)
    one, both = load_file(tmp_path / f"one.{kind}.0"), load_file(f"{two[0]}.{kind}.0")
    nets = [small_net() if kind == "low-rank" else net_without_norms() for _ in range(2)]
    for net, state in zip(nets, (one, both), strict=True):
        net.load_state_dict(state)
    if kind == "plain":  # batch norm's shares have statistics of their own
        assert all(torch.allclose(value, both[name], rtol=1e-3, atol=1e-4) for name, value in one.items())
        assert any(not torch.equal(value, both[name]) for name, value in one.items())
    assert accuracy(nets[0].eval()) == pytest.approx(accuracy(nets[1].eval()), abs=0.03) and accuracy(nets[1]) > 0.8


def test_an_error_in_one_share_is_that_of_all_and_the_next_work_is_done(two: tuple[Path, str]) -> None:
    assert two[1].count("error: training diverged") == 1 and "step 7 of 60" in two[1]
    assert not Path(f"{two[0]}.diverges.0").exists()


def test_what_one_process_can_not_read_ends_the_work_of_all_and_is_told_by_the_first(two: tuple[Path, str]) -> None:
    told = "error: process 1 of 2: samples.npz can't be read\nwhy: there is no such file\ntry: copy it to this machine too"
    assert two[1].count(told) == 1
    assert not Path(f"{two[0]}.misses.0").exists()


def test_only_the_first_process_keeps_a_checkpoint(two: tuple[Path, str]) -> None:
    assert [f.name for f in two[0].parent.iterdir() if "state" in f.name] == ["out.state"]


@pytest.mark.slow
def test_where_one_process_breaks_the_program_ends_with_an_error(tmp_path: Path) -> None:
    done = together(tmp_path / "out", "breaks")
    assert done.returncode == 1
    assert "MemoryError" in done.stderr
    assert "error:" not in done.stdout or "a process of this training ended" in done.stdout
