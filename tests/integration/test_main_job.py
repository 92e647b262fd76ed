"""The main job from the command line: the files it leaves hold what the report says of them."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import MainJob, program
from journey_sample import CONTRACT_FILES, SHORT, arrays, build, network, words

import edgelr
from edgelr.devices import open_session
from edgelr.pipeline.plans import from_toml, read_plan, to_toml
from edgelr.report import from_json

# Every field that design/contract promises of report.json: lists are told by their first element.
CONTRACT: dict[str, Any] = {
    "schema": int,
    "edgelr": str,
    "seed": int,
    "versions": dict,
    "seconds": dict,
    "model": {"name": str, "inputs": list},
    "target": {"name": str, "runtime": str, "threads": int, "device": str},
    "budgets": [{"kind": str, "limit": float, "unit": str, "value": float, "how": str, "on": str, "met": bool}],
    "source": {
        "params": int,
        "macs": int,
        "float_bytes": int,
        "latency": list,
        "score": {"metric": str, "value": float, "n": int, "split": str},
    },
    "stages": [{"name": str, "params": int, "macs": int, "score": dict}],
    "layers": [
        {
            "name": str,
            "kind": str,
            "shape": list,
            "scheme": str,
            "rank": None,
            "full_rank": None,
            "macs": int,
            "bytes": int,
            "latency_us": None,
            "why": str,
        }
    ],
    "artifacts": [
        {
            "path": str,
            "format": str,
            "bytes": int,
            "sha256": str,
            "ops": {"int8": int, "float": int, "other": int},
            "layout_ops": int,
            "score": dict,
            "agreement": float,
            "sqnr_db": float,
            "reference": str,
            "latency": [
                {"on": str, "runtime": str, "threads": int, "how": str, "ms": {"median": float, "p10": float, "p90": float, "n": int}}
            ],
        }
    ],
    "search": {"method": str, "evaluations": int, "seconds": float, "bound": float, "gap": float},
}


def assert_holds(wanted: Any, found: Any, where: str) -> None:
    if isinstance(wanted, dict):
        for key, inner in wanted.items():
            assert key in found, f"{where} lacks {key}"
            assert_holds(inner, found[key], f"{where}.{key}")
    elif isinstance(wanted, list):
        assert found, f"{where} is empty"
        for i, row in enumerate(found):
            assert_holds(wanted[0], row, f"{where}[{i}]")
    elif wanted is not None:
        assert isinstance(found, (int, float) if wanted is float else wanted), f"{where} is {found!r}"


@pytest.fixture(scope="module")
def report(main_job: MainJob) -> dict[str, Any]:
    return dict(json.loads((main_job.out / "report.json").read_text("utf-8")))


def test_every_file_of_the_contract_is_there_and_no_other(main_job: MainJob) -> None:
    assert {p.name for p in main_job.out.iterdir()} == CONTRACT_FILES
    assert not [p.name for p in main_job.out.parent.iterdir() if p.name.startswith(".")]


def test_the_report_has_every_field_of_the_contract(report: dict[str, Any]) -> None:
    assert_holds(CONTRACT, report, "report")
    assert report["schema"] == 1
    assert [s["name"] for s in report["stages"]] == ["source", "factorized", "quantized"]
    assert {line["how"] for line in report["budgets"]} <= {"measured", "simulated", "predicted", "counted"}
    assert report["versions"]["torch"] == torch.__version__.partition("+")[0] or report["versions"]["torch"] == torch.__version__


def test_stdout_is_one_document_and_progress_goes_to_stderr(main_job: MainJob, report: dict[str, Any]) -> None:
    assert json.loads(main_job.stdout) == report
    assert "round 1" in main_job.stderr and "writing" in main_job.stderr
    assert "\x1b" not in main_job.stdout + main_job.stderr
    assert "Traceback" not in main_job.stderr and "Warning" not in main_job.stderr


def test_the_budget_holds_for_each_file_on_disk(main_job: MainJob, report: dict[str, Any]) -> None:
    assert {line["on"] for line in report["budgets"]} == {"model.int8.tflite", "model.int8.onnx"}
    dense = {d["format"]: d["bytes"] for d in report["dense"]}
    for format, bytes_dense in dense.items():
        size = (main_job.out / f"model.int8.{format}").stat().st_size
        assert size <= 0.5 * bytes_dense
    for line in report["budgets"]:
        assert line["met"] and line["value"] == (main_job.out / line["on"]).stat().st_size / 1e3 <= line["limit"]


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_a_file_has_the_reported_bytes_and_gives_the_reported_score(main_job: MainJob, report: dict[str, Any], format: Any) -> None:
    row = next(a for a in report["artifacts"] if a["format"] == format)
    data = (main_job.out / row["path"]).read_bytes()
    assert (len(data), hashlib.sha256(data).hexdigest()) == (row["bytes"], row["sha256"])
    x, y = arrays()["x_test"], arrays()["y_test"]
    session = open_session(data, format)
    picked = session.run(x).argmax(1)
    session.close()
    assert (picked == y).mean() == pytest.approx(row["score"]["value"], abs=1e-9)
    with torch.no_grad():
        source = network()(torch.from_numpy(x)).numpy().argmax(1)
    assert (picked == source).mean() == pytest.approx(row["agreement"], abs=1e-9)
    assert row["score"]["n"] == len(y) and row["score"]["split"] == "test" and row["score"]["value"] > 0.85
    assert row["ops"]["float"] == 0


def test_the_compressed_float_network_loads_and_scores_what_the_report_says(main_job: MainJob, report: dict[str, Any]) -> None:
    x, y = arrays()["x_test"], arrays()["y_test"]
    for source in (build(), f"{main_job.inputs}/net.py:tiny"):  # the structure is what counts, its weights are not used
        loaded = edgelr.load(main_job.out, source)
        assert not loaded.training
        with torch.no_grad():
            picked = loaded(torch.from_numpy(x)).numpy().argmax(1)
        assert (picked == y).mean() == pytest.approx(report["stages"][1]["score"]["value"], abs=1e-9)
    factorised = [line for line in report["layers"] if line["scheme"] != "dense"]
    assert sum(p.numel() for p in loaded.parameters()) == report["stages"][1]["params"] < report["source"]["params"] and factorised


def test_the_written_files_compute_what_the_loaded_network_computes(main_job: MainJob) -> None:
    x = arrays()["x_test"]
    with torch.no_grad():
        expected = edgelr.load(main_job.out, build())(torch.from_numpy(x)).numpy()
    for format in ("tflite", "onnx"):
        session = open_session((main_job.out / f"model.int8.{format}").read_bytes(), format)  # type: ignore[arg-type]
        noise = session.run(x) - expected
        session.close()
        assert 10 * np.log10((expected**2).sum() / (noise**2).sum()) > 20


def test_the_plan_is_that_of_the_report_and_round_trips(main_job: MainJob, report: dict[str, Any]) -> None:
    plan, shape = read_plan(main_job.out / "plan.toml")
    assert shape == (1, 8, 8)
    told = {line["name"]: (line["scheme"], line["rank"]) for line in report["layers"]}
    assert {name: (c.scheme, c.rank) for name, c in plan.choices.items()} == {n: told[n] for n in plan.choices}
    text = (main_job.out / "plan.toml").read_text("utf-8")
    assert to_toml(plan, "tiny", shape) == text and from_toml(text, "plan.toml") == (plan, shape)


def test_every_setting_of_the_run_is_in_run_toml(main_job: MainJob) -> None:
    settings = tomllib.loads((main_job.out / "run.toml").read_text("utf-8"))
    assert settings["budgets"] == ["50%KB"] and settings["allow_slower"] is True and settings["seed"] == 0
    assert settings["weights"].endswith("w.safetensors") and settings["score_samples"] == 64 and settings["method"] == "beam"


def test_the_log_holds_one_event_a_line_in_the_order_of_time(main_job: MainJob) -> None:
    events = [json.loads(line) for line in (main_job.out / "log.jsonl").read_text("utf-8").splitlines()]
    assert [e["seconds"] for e in events] == sorted(e["seconds"] for e in events)
    for event in events:
        assert event["text"] in main_job.stderr


def test_the_page_needs_nothing_from_the_net(main_job: MainJob) -> None:
    page = (main_job.out / "report.html").read_text("utf-8")
    assert "50%KB" in page and not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//", page)


def test_the_report_reads_back_as_a_report(main_job: MainJob) -> None:
    assert from_json((main_job.out / "report.json").read_text("utf-8")).met


def test_the_same_seed_gives_the_same_plan_and_the_same_bytes_whatever_the_hash_seed(main_job: MainJob, tmp_path: Path) -> None:
    again = program(
        "compress",
        *words(main_job.inputs),
        "--budget",
        "50%KB",
        "--allow-slower",
        "-o",
        "again",
        *SHORT,
        cwd=tmp_path,
        PYTHONHASHSEED="2",
        NO_COLOR="1",
    )
    assert again.returncode == 0, again.stderr
    for name in ("plan.toml", "model.int8.tflite", "model.int8.onnx", "model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (main_job.out / name).read_bytes(), name
    # What is printed for people: within 80 columns, without colours, the report's place last.
    assert "\x1b" not in again.stdout + again.stderr
    assert max(map(len, again.stdout.splitlines())) <= 80
    assert again.stdout.rstrip().endswith("report: again/report.html")
    assert "Every budget is met." in again.stdout and "round" not in again.stdout
