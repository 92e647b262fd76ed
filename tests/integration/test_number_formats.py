"""Number formats, what is kept in float, and training on the grid: asked for on the journey, they hold in the files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from journey_sample import SHORT, arrays, edgelr, network, words

from edgelr import Data, Split, UsageError, compress, load
from edgelr.api import quantize
from edgelr.export.readback import read
from edgelr.report import Report

FEW = {"score_samples": 64, "calibration_samples": 64}


def data() -> Data:
    a = arrays()
    train, validation, test = (Split(a[f"x_{p}"], a[f"y_{p}"]) for p in ("train", "val", "test"))
    return Data(train, validation, test, calibration=train)


def run(out: Path | str = "", **settings: Any) -> Report:
    return quantize(network(), data(), out=out, **{**FEW, **settings})


def weight_types(out: Path, format: str) -> dict[str, str]:
    found = read((out / f"model.int8.{format}").read_bytes(), format)  # type: ignore[arg-type]
    return {name: str(w.weight.dtype) for name, w in found.weights.items()}


def test_a_module_kept_in_float_is_in_float_in_both_files_and_told_why(inputs: Path, tmp_path: Path) -> None:
    done = edgelr("quantize", *words(inputs, "--keep-float", "3", "-o", str(tmp_path / "o"), "--calibration-samples", "64", "--json"))
    assert done.code == 0, done.err
    for format in ("tflite", "onnx"):
        types = weight_types(tmp_path / "o", format)
        assert types["3"] == "float32" and set(types.values()) == {"int8", "float32"}
    told = json.dumps(json.loads(done.out)["artifacts"])
    assert "--keep-float 3" in told


def test_a_pattern_that_matches_nothing_names_what_is_near(inputs: Path) -> None:
    done = edgelr("quantize", *words(inputs, "--keep-float", "layers.9.*", "-o", "never", "--calibration-samples", "64"))
    assert done.code == 2 and "layers.9.*" in done.err and "matches no operation" in done.err


@pytest.mark.parametrize("numbers", ["int8", "dynamic", "float", "mixed"])
def test_the_number_format_asked_for_is_the_one_written(tmp_path: Path, numbers: str) -> None:
    report = run(tmp_path / "o", numbers=numbers)
    types = {name: kind for f in ("tflite", "onnx") for name, kind in weight_types(tmp_path / "o", f).items()}
    wanted = {"int8": {"int8"}, "mixed": {"int8"}, "float": {"float32"}, "dynamic": {"int8", "float32"}}[numbers]
    assert set(types.values()) == wanted
    assert all(a.score is not None and a.score.value > 0.9 for a in report.artifacts)


def test_dynamic_is_refused_for_a_runtime_that_computes_it_wrongly(tmp_path: Path) -> None:
    board = tmp_path / "board"
    board.mkdir()
    (board / "target.toml").write_text(
        'name = "board"\ndevice = "an old board"\nruntimes = ["litert"]\nthreads = 1\nnumber_format = "w8a8"\n'
        '[rank_steps]\nlitert = 8\n[packages]\nlitert = "tflite-runtime==2.14.0"\n'
    )
    with pytest.raises(UsageError, match=r"tflite-runtime==2.14.0 computes dynamic-range files"):
        run(target=f"{board}@local", numbers="dynamic")
    assert run(target=f"{board}@local", formats=("tflite",)).artifacts[0].format == "tflite"


def test_seven_bit_weights_for_processors_without_vnni(tmp_path: Path) -> None:
    board = tmp_path / "haswell"
    board.mkdir()
    (board / "target.toml").write_text(
        'name = "haswell"\ndevice = "x86-64 with AVX2"\nruntimes = ["onnxruntime"]\nthreads = 1\nnumber_format = "w8a8"\nweight_bits = 7\n'
        "[rank_steps]\nonnxruntime = 16\n"
    )
    run(tmp_path / "o", target=f"{board}@local", formats=("onnx",))
    found = read((tmp_path / "o" / "model.int8.onnx").read_bytes(), "onnx").weights
    assert max(int(np.abs(w.weight.astype(int)).max()) for w in found.values()) == 63


def test_a_bound_on_the_drop_reverts_the_worst_operations_and_says_so() -> None:
    """64 validation samples of a made-up metric that int8 breaks: what counts is that the loop ends within the bound."""
    report = run(max_drop=0.0)
    assert report.sensitivity and report.sensitivity == tuple(sorted(report.sensitivity, key=lambda s: s.sqnr_db or np.inf))
    flags = [s.flag for s in report.sensitivity]
    assert all(f.startswith("--keep-float '") for f in flags) and len(set(flags)) == len(flags)
    assert {r.name for r in report.reverted} == {s.name for s in report.sensitivity if s.kept}


def test_training_on_the_grid_is_told_and_the_float_network_is_the_trained_one(tmp_path: Path) -> None:
    out = tmp_path / "o"
    report = compress(
        network(), data(), budget="45%params", out=out, qat=True, epochs=2, allow_slower=True, method="uniform", **FEW  # type: ignore[arg-type]
    )
    assert [s.name for s in report.stages] == ["source", "factorized", "trained", "quantized"]
    assert report.training is not None and report.training.epochs == 2 and report.training.samples == 192
    scores = {s.name: s.score.value for s in report.stages if s.score}
    assert scores["trained"] >= scores["factorized"] - 0.02 and scores["quantized"] >= scores["factorized"] - 0.02
    back = load(out, network())
    a = arrays()
    with torch.no_grad():
        got = back(torch.from_numpy(a["x_test"])).argmax(1).numpy()
    assert abs(float((got == a["y_test"]).mean()) - scores["trained"]) < 0.011


def test_training_needs_samples_to_train_on() -> None:
    a = arrays()
    with pytest.raises(UsageError, match="nothing to train on"):
        quantize(network(), Data(calibration=Split(a["x_val"]), test=Split(a["x_test"])), qat=True, **FEW)


@pytest.mark.parametrize(("words_", "told"), [(("--max-drop", "-1"), "no bound"), (("--epochs", "3"), "nothing to train"),
                                             (("--numbers", "int4"), "unknown number format")])
def test_options_that_make_no_sense_are_refused(inputs: Path, words_: tuple[str, ...], told: str) -> None:
    done = edgelr("compress", *words(inputs, "--budget", "50%KB", "--dry-run", *words_, *SHORT))
    assert done.code == 2 and told in done.err
