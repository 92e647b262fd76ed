"""The other commands, on the files that the main job left."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import MainJob
from journey_sample import CONTRACT_FILES, SHORT, Done, arrays, edgelr, words

from edgelr.errors import Exit


def assert_error(done: Done, code: Exit, *told: str) -> None:
    assert done.code == code, done.err
    assert "Traceback" not in done.err + done.out and done.err.startswith("error: ")
    for word in told:
        assert word in done.err, done.err


@pytest.fixture
def copy(main_job: MainJob, tmp_path: Path) -> Path:
    shutil.copytree(main_job.out, tmp_path / "out")
    return tmp_path / "out"


def entries(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def test_plan_and_dry_run_choose_alike_and_write_nothing(inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = entries(inputs)
    more = ("--budget", "60%KB", "--allow-slower", "--method", "additive", "--format", "onnx", *SHORT, "--json", "-q")
    plan, dry = edgelr("plan", *words(inputs, *more)), edgelr("compress", *words(inputs, *more, "--dry-run", "-o", str(tmp_path / "out")))
    assert plan.code == dry.code == 0 and plan.err == dry.err == ""
    one, other = json.loads(plan.out), json.loads(dry.out)
    for report in (one, other):
        for layer in report["layers"]:
            layer.pop("latency_us")
    assert one["layers"] == other["layers"] and [a["sha256"] for a in one["artifacts"]] == [a["sha256"] for a in other["artifacts"]]
    assert entries(tmp_path) == [] and entries(inputs) == before


def test_quantize_writes_the_dense_network(inputs: Path, tmp_path: Path) -> None:
    done = edgelr("quantize", *words(inputs, "-o", str(tmp_path / "out"), "-q"))
    assert done.code == 0 and done.err == ""
    report = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    assert {p.name for p in (tmp_path / "out").iterdir()} == CONTRACT_FILES
    assert {line["scheme"] for line in report["layers"]} == {"dense"} and report["budgets"] == [] and report["search"] is None
    assert [s["name"] for s in report["stages"]] == ["source", "quantized"]
    assert report["stages"][1]["score"]["value"] >= report["source"]["score"]["value"] - 0.05
    assert "No budget was asked for." in done.out


def test_inspect_lists_every_layer_with_the_reason_why_not(inputs: Path) -> None:
    told = edgelr("inspect", f"{inputs}/net.py:tiny", "--input", "1x1x8x8", "--json")
    assert told.code == 0 and told.err == ""
    document = json.loads(told.out)
    assert document["input"] == [1, 8, 8] and document["params"] == sum(v["params"] for v in document["layers"]) == 35_300
    assert document["macs"] == 64 * 9 * 32 + 16 * 9 * 32 * 48 + 16 * 9 * 48 * 48 + 48 * 4
    assert [v["name"] for v in document["layers"]] == ["0", "1", "3", "4", "6", "7", "11"]
    assert all(v["schemes"] or v["reason"] for v in document["layers"])
    text = edgelr("inspect", f"{inputs}/net.py:tiny", "--data", f"{inputs}/d.npz")
    assert text.code == 0 and max(map(len, text.out.splitlines())) <= 80
    assert "35,300 parameters" in text.out and "batch" in text.out


def test_verify_finds_a_finished_run_in_order(copy: Path) -> None:
    done = edgelr("verify", str(copy))
    assert done.code == 0, done.err
    assert all(line.startswith(("ok  ", "    ")) for line in done.out.splitlines()) and "SHA-256 as reported" in done.out
    assert max(map(len, done.out.splitlines())) <= 80
    told = json.loads(edgelr("verify", str(copy), "--json", "-q").out)
    assert " ".join(f"ok {check}" for check in told["checks"]).split() == done.out.split()
    assert sorted(p.name for p in copy.iterdir()) == sorted(CONTRACT_FILES)


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_verify_tells_one_changed_bit(copy: Path, format: str) -> None:
    raw = bytearray((copy / f"model.int8.{format}").read_bytes())
    raw[len(raw) // 2] ^= 1
    (copy / f"model.int8.{format}").write_bytes(raw)
    assert_error(edgelr("verify", str(copy), "-q"), Exit.GATE, f"model.int8.{format}", "changed")


def test_verify_tells_a_missing_file_and_a_folder_that_is_no_run(copy: Path, tmp_path: Path) -> None:
    (copy / "model.int8.onnx").unlink()
    assert_error(edgelr("verify", str(copy), "-q"), Exit.BAD_INPUT, "model.int8.onnx is missing")
    assert_error(edgelr("verify", str(tmp_path), "-q"), Exit.BAD_INPUT, "report.json")
    assert_error(edgelr("verify", str(tmp_path / "nowhere"), "-q"), Exit.BAD_INPUT, "report.json")


@pytest.mark.parametrize(
    ("format", "garbage"), [("tflite", b""), ("tflite", b"\0" * 1000), ("tflite", b"\x18\0\0\0TFL3" * 99), ("onnx", bytes(256))]
)
def test_garbage_that_the_report_vouches_for_is_still_refused(copy: Path, format: str, garbage: bytes) -> None:
    file, report = copy / f"model.int8.{format}", copy / "report.json"
    old = hashlib.sha256(file.read_bytes()).hexdigest()
    file.write_bytes(garbage)
    report.write_text(report.read_text("utf-8").replace(old, hashlib.sha256(garbage).hexdigest()), "utf-8")
    done = edgelr("verify", str(copy), "-q")
    assert_error(done, Exit.GATE if done.code == Exit.GATE else Exit.BAD_INPUT)


def test_a_report_that_was_tampered_with_is_told(copy: Path) -> None:
    report = copy / "report.json"
    good = json.loads(report.read_text("utf-8"))
    for damage in ({"schema": 2}, {"artifacts": "none"}, {"artifacts": [{"path": "../../etc/passwd"}]}):
        report.write_text(json.dumps({**good, **damage}), "utf-8")
        assert_error(edgelr("verify", str(copy), "-q"), Exit.BAD_INPUT, "report.json")
    report.write_text("{", "utf-8")
    assert_error(edgelr("verify", str(copy), "-q"), Exit.BAD_INPUT, "report.json")


def test_doctor_tells_versions_and_what_is_missing() -> None:
    done = edgelr("doctor", "--json")
    assert done.code == 0
    told = json.loads(done.out)
    assert told["schema"] == 1 and told["missing"] == [] and "host" in told["targets"] and told["versions"]["torch"]
    text = edgelr("doctor").out
    assert "onnxruntime" in text and max(map(len, text.splitlines())) <= 80


@pytest.mark.slow
def test_the_demo_does_the_whole_journey_on_real_digits(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    done = edgelr("demo", "-o", str(tmp_path / "demo"))
    assert done.code == 0, done.err
    report = json.loads((tmp_path / "demo" / "report.json").read_text("utf-8"))
    assert all(b["met"] for b in report["budgets"]) and report["stages"][-1]["score"]["value"] > 0.95
    assert {p.name for p in (tmp_path / "demo").iterdir()} == CONTRACT_FILES


def test_inputs_unlike_those_of_training_are_told_before_any_work(inputs: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "wrong.npz", **{k: v * 40 + 100 if k.startswith("x") else v for k, v in arrays().items()})
    call = [f"{inputs}/net.py:tiny", "--weights", f"{inputs}/w.safetensors", "--data", f"{tmp_path}/wrong.npz", "-o", f"{tmp_path}/out"]
    done = edgelr("quantize", *call, "--format", "onnx")
    assert done.code == 0, done.err
    lines = done.err.splitlines()
    warned = next(i for i, line in enumerate(lines) if "warning: the inputs don't look like the training inputs" in line)
    assert warned < next(i for i, line in enumerate(lines) if "writing the dense network" in line)
    report = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    assert any("don't look like the training inputs" in w for w in report["warnings"])
    assert "don't look like" in (tmp_path / "out" / "report.html").read_text("utf-8").replace("&#39;", "'")
    assert "don't look like" in " ".join(done.out.split())


def test_inputs_like_those_of_training_give_no_warning(main_job: MainJob) -> None:
    warnings = [w for w in json.loads(main_job.stdout)["warnings"] if "may be off" not in w]  # of a busy machine
    assert warnings == [] and "warning" not in main_job.stderr


@pytest.mark.parametrize(("given", "seen"), [({}, "3000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "none")])
def test_threads_of_torch_give_a_busy_core_away_soon_unless_the_user_says_otherwise(
    given: dict[str, str], seen: str, tmp_path: Path
) -> None:
    """libgomp reads it when torch is loaded: what counts is what stands there by then."""
    (tmp_path / "net.py").write_text("import torch\ndef net():\n    return torch.nn.Linear(3, 2)\n")
    code = """
import os, sys
class Watch:
    def find_spec(self, name, *more):
        if name == "torch":
            print(os.environ.get("GOMP_SPINCOUNT", "none"), file=open("seen", "a"))
sys.meta_path.insert(0, Watch())
from edgelr.cli import main
sys.argv = ["edgelr", "inspect", "net.py:net", "--input", "1x3"]
main()
"""
    free = {k: v for k, v in os.environ.items() if not k.startswith(("GOMP", "OMP"))}
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=free | given, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "seen").read_text() == f"{seen}\n"
