"""The whole job with a device attached: planned, measured there through a real sshd, planned again, and its outputs compared there."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from adbd_sample import Adbd
from journey_sample import SHORT, edgelr, words
from sshd_sample import Sshd

pytest_plugins = ("attached_sample",)
BOARD = """
name = "my-board"
device = "a board of my own"
runtimes = ["litert", "onnxruntime"]
threads = 1
number_format = "w8a8"
[rank_steps]
litert = 16
onnxruntime = 16
"""


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """A target's folder as a user writes it: no table, no core."""
    folder = tmp_path / "my-board"
    folder.mkdir()
    (folder / "target.toml").write_text(BOARD)
    return folder


def at(board: Path, address: str) -> tuple[str, str]:
    return "--target", f"{board}@{address}?python={sys.executable}"


def test_a_budget_is_met_as_measured_on_the_device_that_is_attached(sshd: Sshd, inputs: Path, board: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    asked = ("--budget", "55%KB", "--budget", "500ms", "--format", "tflite", "--allow-slower", "-o", str(out))
    done = edgelr("compress", *words(inputs), *at(board, sshd.address), *asked, *SHORT, "--json", "-q")
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert "127.0.0.1" in report["target"]["device"] and report["target"]["conditions"]["runtime"].startswith("ai-edge-litert")
    (latency,) = [b for b in report["budgets"] if b["kind"] == "latency"]
    assert latency["how"] == "measured" and "127.0.0.1" in latency["on"] and latency["met"] and latency["band"] == 0
    (artifact,) = report["artifacts"]
    assert artifact["latency"][0]["how"] == "measured" and artifact["latency"][0]["ms"]["n"] >= 50
    assert "bit for bit" in artifact["on_device"] and "127.0.0.1" in artifact["on_device"]
    assert report["rounds"] and all(r["how"] == "measured" and "127.0.0.1" in r["on"] for r in report["rounds"])


def test_a_profile_of_an_attached_device_names_the_modules(adbd: Adbd, inputs: Path, board: Path) -> None:
    done = edgelr("profile", words(inputs)[0], "--input", "1x1x8x8", *at(board, adbd.address), "--format", "onnx", "--json", "-q")
    assert done.code == 0, done.err
    (profile,) = json.loads(done.out)["profiles"]
    assert profile["how"] == "measured" and adbd.address in profile["on"]
    assert {line["module"] for line in profile["lines"]} >= {"0", "3", "6", "11"}


def test_a_device_of_another_core_or_unknown_key_ends_before_any_work(sshd: Sshd, inputs: Path, tmp_path: Path) -> None:
    asked = ("--budget", "5ms", "-o", str(tmp_path / "out"), *SHORT, "-q")
    board = f"raspberry-pi-4@{sshd.address}?python={sys.executable}"
    done = edgelr("compress", *words(inputs), "--target", board, *asked)
    assert done.code == 2 and "cortex-a72" in done.err
    (sshd.root / "known_hosts").write_text("")
    done = edgelr("compress", *words(inputs), "--target", board, *asked)
    assert done.code == 6 and "UNKNOWN" in done.err
    assert not (tmp_path / "out").exists()
