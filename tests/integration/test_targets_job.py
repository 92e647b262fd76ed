"""Budgets in milliseconds on named boards without one at hand: simulated, labelled so, and kept with the tables' own error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from journey_sample import SHORT, edgelr, words

BOARDS = ("raspberry-pi-zero-2w", "raspberry-pi-4", "raspberry-pi-5")


@pytest.fixture(scope="module")
def profiles(inputs: Path) -> dict[str, dict[str, float]]:
    """Milliseconds of the dense int8 network by board and runtime."""
    found = {}
    for board in BOARDS:
        done = edgelr("profile", words(inputs)[0], "--input", "1x1x8x8", "--target", board, "--json", "-q")
        assert done.code == 0, done.err
        found[board] = {p["runtime"]: p["whole_us"] / 1e3 for p in json.loads(done.out)["profiles"]}
    return found


def test_boards_differ_as_their_cores_do(profiles: dict[str, dict[str, float]]) -> None:
    for runtime in ("litert", "onnxruntime"):
        zero, four, five = (profiles[b][runtime] for b in BOARDS)
        assert zero > 1.3 * four > 1.3 * 1.3 * five > 0


def test_a_budget_on_a_board_that_is_not_at_hand_is_simulated_and_keeps_the_tables_error(
    inputs: Path, profiles: dict[str, dict[str, float]], tmp_path: Path
) -> None:
    limit_ms = 2.0 * max(profiles["raspberry-pi-4"].values())
    out = tmp_path / "out"
    target = ("--target", "raspberry-pi-4", "--budget", f"{limit_ms:.4f}ms", "-o", str(out))
    done = edgelr("compress", *words(inputs), *target, *SHORT, "--json", "-q")
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert report["target"]["name"] == "raspberry-pi-4" and report["target"]["device"] == ""
    latency = [b for b in report["budgets"] if b["kind"] == "latency"]
    assert {b["how"] for b in latency} == {"simulated"} and len(latency) == 2
    for b in latency:
        assert b["band"] > 0 and b["value"] * (1 + b["band"]) <= b["limit"] and b["met"]
    for artifact in report["artifacts"]:
        assert [row["how"] for row in artifact["latency"]] == ["simulated"]
    assert all(line["latency_us"]["how"] == "simulated" for line in report["layers"] if line["latency_us"])
    assert all(r["how"] == "simulated" for r in report["rounds"])


def test_a_budget_within_the_tables_error_is_refused_with_what_to_do(inputs: Path, profiles: dict[str, dict[str, float]]) -> None:
    limit_ms = 0.3 * min(profiles["raspberry-pi-4"].values())
    done = edgelr("plan", *words(inputs), "--target", "raspberry-pi-4", "--budget", f"{limit_ms:.4f}ms", *SHORT, "-q")
    assert done.code == 4
    assert "right within" in done.err.replace("\n", " ") and "attach the device" in done.err.replace("\n", " ")


def test_a_profile_without_a_device_names_every_module_and_says_what_it_rests_on(inputs: Path) -> None:
    done = edgelr("profile", words(inputs)[0], "--input", "1x1x8x8", "--target", "pixel-7", "--format", "tflite", "--json", "-q")
    assert done.code == 0, done.err
    (profile,) = json.loads(done.out)["profiles"]
    assert profile["how"] == "simulated" and profile["predicted_us"] == pytest.approx(profile["whole_us"])
    assert {line["module"] for line in profile["lines"]} >= {"0", "3", "6", "11"}
    assert {line["basis"] for line in profile["lines"]} <= {"row", "between", "beyond", "unlike"}
    assert sum(line["us"] for line in profile["lines"]) <= profile["whole_us"] + 1e-6


def test_this_machine_can_be_profiled_and_a_target_without_table_says_what_to_do(inputs: Path, tmp_path: Path) -> None:
    done = edgelr("profile", words(inputs)[0], "--input", "1x1x8x8", "--json", "-q")
    assert done.code == 0, done.err
    assert {p["how"] for p in json.loads(done.out)["profiles"]} == {"measured"}
    board = tmp_path / "my-board"
    board.mkdir()
    (board / "target.toml").write_text(
        'name = "my-board"\ndevice = "a board"\nruntimes = ["litert"]\nthreads = 1\nnumber_format = "w8a8"\n[rank_steps]\nlitert = 8\n'
    )
    done = edgelr("plan", *words(inputs), "--target", str(board), "--budget", "5ms", *SHORT, "-q")
    assert done.code == 2 and "table build" in done.err.replace("\n", " ")
