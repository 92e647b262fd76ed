"""Training that is interrupted, and training in several processes: the program as a user starts and ends it."""
from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import program
from journey_sample import SHORT, edgelr, words
from training_sample import Convolutional, run

from edgelr.errors import InterruptedRunError

NAMES = ("model.int8.tflite", "model.int8.onnx", "model.safetensors", "plan.toml")
ASKED = ("--budget", "60%params", "--allow-slower", "--method", "additive", *SHORT, "--train", "bsr")
SETTINGS: dict[str, Any] = {"train": "bsr", "epochs": 4, "augment": "crop-flip"}
LONG = 400  # epochs: some ten seconds and more


def command(inputs: Path, out: Path, *more: str) -> list[str]:
    return ["compress", *words(inputs), *ASKED, "-o", str(out), *more]


def started(inputs: Path, *argv: str) -> subprocess.Popen[str]:
    env = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "80"}
    return subprocess.Popen([sys.executable, "-m", "edgelr", *argv], cwd=inputs, env=env, text=True, stderr=subprocess.PIPE)


def wait_for(file: Path, process: subprocess.Popen[str], seconds: float = 600) -> None:
    end = time.monotonic() + seconds
    while not file.exists():
        assert process.poll() is None and time.monotonic() < end, process.stderr.read() if process.stderr else ""
        time.sleep(0.02)


def files(out: Path) -> dict[str, bytes]:
    return {n: (out / n).read_bytes() for n in NAMES}


@pytest.fixture(scope="module")
def whole(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run of few epochs."""
    out = tmp_path_factory.mktemp("whole") / "out"
    done = program(*command(inputs, out, "--epochs", "16"), cwd=inputs, seconds=600)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run in this process."""
    out = tmp_path_factory.mktemp("trained") / "out"
    run(Convolutional, out, "45%params", **SETTINGS)
    return out


@pytest.mark.parametrize("stage", ["training at full rank: epoch 2", "fine-tuning: epoch 1", "behind training"])
def test_an_interrupted_run_is_taken_up_to_the_same_bytes(stage: str, trained: Path, tmp_path: Path) -> None:
    """Interrupted in either part of training, and behind it."""
    heard: list[str] = []

    def interrupt(text: str) -> None:
        heard.append(text)
        done = any(t.startswith("fine-tuning: epoch 2") for t in heard)
        if text.startswith(stage) or (stage == "behind training" and done):
            raise KeyboardInterrupt

    with pytest.raises(InterruptedRunError) as error:
        run(Convolutional, tmp_path / "out", "45%params", tell=interrupt, **SETTINGS)
    assert "--resume" in error.value.try_ and not (tmp_path / "out").exists()
    run(Convolutional, tmp_path / "out", "45%params", resume=True, **SETTINGS)
    assert files(tmp_path / "out") == files(trained)
    assert not (tmp_path / "out.unfinished").exists()


def test_a_killed_run_is_taken_up_to_the_same_bytes(whole: Path, inputs: Path, tmp_path: Path) -> None:
    out, kept = tmp_path / "out", tmp_path / "out.unfinished"
    process = started(inputs, *command(inputs, out, "--epochs", "16"))
    wait_for(kept / "whole.safetensors", process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not out.exists()
    again = program(*command(inputs, out, "--epochs", "16", "--resume"), cwd=inputs, seconds=600)
    assert again.returncode == 0, again.stderr
    assert files(out) == files(whole)
    assert not kept.exists()


def test_an_interrupted_run_says_how_to_resume_and_refuses_other_settings(inputs: Path, tmp_path: Path) -> None:
    out, kept = tmp_path / "out", tmp_path / "out.unfinished"
    process = started(inputs, *command(inputs, out, "--epochs", str(LONG)))
    wait_for(kept / "whole.safetensors", process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 130 and "--resume" in said and "out.unfinished" in said and "Traceback" not in said
    assert not out.exists()
    forgotten = edgelr(*command(inputs, out, "--epochs", str(LONG)))
    assert forgotten.code == 2 and "add --resume" in forgotten.err
    other = edgelr(*command(inputs, out, "--epochs", "7", "--seed", "3", "--resume"))
    assert other.code == 2 and "epochs was 400, is 7" in " ".join(other.err.split())
    shutil.rmtree(kept)
    nothing = edgelr(*command(inputs, out, "--epochs", str(LONG), "--resume"))
    assert nothing.code == 2 and "nothing to resume" in nothing.err


def test_a_time_is_kept(inputs: Path, tmp_path: Path) -> None:
    """Generously, for a busy machine: all the epochs that are asked for would take an hour."""
    out = tmp_path / "out"
    done = program(*command(inputs, out, "--time", "8s", "--epochs", "100000", "--json"), cwd=inputs, seconds=600)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert "--time 8s is enough for" in " ".join(done.stderr.split())
    assert 1 < sum(s["epochs"] for s in report["training_stages"]) < 20_000
    assert sum(s["seconds"] for s in report["training_stages"]) < 30


def test_two_processes_train_together_and_the_first_alone_tells(inputs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    argv = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "edgelr"]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "80"}
    asked = [w if w != "bsr" else "finetune" for w in command(inputs, out, "--epochs", "3", "--json")]
    done = subprocess.run([*argv, *asked], capture_output=True, text=True, check=False, cwd=inputs, env=env, timeout=3000)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert [s["recipe"] for s in report["training_stages"]] == ["finetune"]
    assert all(line["met"] for line in report["budgets"])
    assert files(out)["model.safetensors"]
