"""--train by each recipe, through the whole journey: the budget holds, training wins back what truncation lost, files and weights agree."""
from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest
import torch
from journey_sample import edgelr as command_line
from journey_sample import words
from torch import nn
from training_sample import Convolutional, Linear, Rows, data, network, run

import edgelr
from edgelr.data import Data, Split
from edgelr.devices import open_session
from edgelr.errors import UsageError
from edgelr.export.layout import layout_of
from edgelr.graph import capture
from edgelr.pipeline import Settings, parse_budget
from edgelr.pipeline.plans import read_plan
from edgelr.report import Report

CONV, RECURRENT = (Convolutional, "34%params", 4), (Rows, "40%params", 6)
WAY: dict[str, Any] = {"method": "uniform", "schemes": ("channel", "recurrent", "linear")}
RECIPES = ("finetune", "bsr", "lc", "lrpet", "rank-tuning")
Case = tuple[type[nn.Module], str, int]


@cache
def done(case: Case, recipe: str) -> tuple[Path, Report]:
    kind, budget, epochs = case
    out = Path(mkdtemp(prefix="edgelr-test-")) / "out"
    return out, run(kind, out, budget, train=recipe, epochs=epochs, **WAY)


def scores(report: Report) -> dict[str, float]:
    return {s.name: s.score.value for s in report.stages if s.score is not None}


def model_bytes(out: Path) -> dict[str, bytes]:
    return {n: (out / n).read_bytes() for n in ("model.int8.tflite", "model.int8.onnx", "model.safetensors", "plan.toml")}


@pytest.mark.parametrize("case", [CONV, RECURRENT], ids=["conv", "lstm"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_meets_the_budget_and_wins_back_what_truncation_lost(recipe: str, case: Case) -> None:
    if case is RECURRENT and recipe == "lrpet":
        pytest.skip("made for convolutions: one test of recurrent training towards ranks is enough")
    out, report = done(case, recipe)
    assert report.met
    told = scores(report)
    assert told["factorized"] < told["source"] - 0.02, "the sample must lose something, or the test shows nothing"
    assert told["trained"] > told["factorized"] + 0.25 * (told["source"] - told["factorized"])
    assert told["quantized"] > told["trained"] - 0.03
    stages = report.training_stages
    assert [s.recipe for s in stages] == (["finetune"] if recipe == "finetune" else [recipe, "finetune"])
    assert sum(s.epochs for s in stages) == case[2]
    first, last = stages[0].score_before, stages[-1]
    assert first is not None and last.score_before is not None and last.score_after is not None and last.score_after.split == "validation"
    if recipe != "finetune":  # whose first score is that of the cut already
        near = last.score_before.value >= 0.75 * first.value
        assert last.rate == (0.003 if case is RECURRENT else 0.005 if near else 0.015)
    assert not out.with_name("out.unfinished").exists()


@pytest.mark.parametrize(("case", "recipe"), [(CONV, "lc"), (RECURRENT, "bsr")], ids=["conv", "lstm"])
def test_load_gives_the_network_that_the_files_were_made_from(case: Case, recipe: str) -> None:
    out, report = done(case, recipe)
    loaded = edgelr.load(out, network(case[0]))
    test = data().test
    assert test is not None and test.y is not None
    with torch.no_grad():
        outputs = loaded(torch.from_numpy(np.array(test.x[:])))
    assert float((outputs.argmax(1).numpy() == test.y).mean()) == scores(report)["trained"]
    assert sum(p.numel() for p in loaded.parameters()) == report.stages[-1].params
    last = layout_of(capture(network(case[0]), (1, 8, 8))).channels_last
    session = open_session((out / "model.int8.tflite").read_bytes(), "tflite", channels_last="input" in last, channels_last_output=False)
    try:
        agreement = (session.run(test.x[:]).reshape(len(test), -1).argmax(1) == outputs.argmax(1).numpy()).mean()
    finally:
        session.close()
    assert agreement > 0.95


def test_learning_compression_tells_the_ranks_that_it_chose_itself() -> None:
    out, report = done(RECURRENT, "lc")
    plan, _ = read_plan(out / "plan.toml")
    changed = {r.layer: r for r in report.training_stages[0].ranks}
    assert changed, "uniform ranks are not what the C step chooses here"
    for layer, change in changed.items():
        assert change.after == str(plan[layer]) != change.before
    assert {line.name: (line.scheme, line.rank) for line in report.layers if line.name in changed} == {
        n: (plan[n].scheme, plan[n].rank) for n in changed
    }


def test_learning_compression_meets_bytes_as_written(tmp_path: Path) -> None:
    report = run(Convolutional, tmp_path / "out", "55%KB", train="lc", epochs=2)
    assert report.met and report.training_stages[0].recipe == "lc"
    for line, artifact in zip(report.budgets, report.artifacts, strict=True):
        assert artifact.bytes == (tmp_path / "out" / artifact.path).stat().st_size <= 1000 * line.limit


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    out, _ = done(CONV, "lrpet")
    run(CONV[0], tmp_path / "a", CONV[1], train="lrpet", epochs=CONV[2], **WAY)
    assert model_bytes(tmp_path / "a") == model_bytes(out)
    run(CONV[0], tmp_path / "b", CONV[1], train="lrpet", epochs=CONV[2], **WAY, seed=1)
    assert model_bytes(tmp_path / "b")["model.safetensors"] != model_bytes(out)["model.safetensors"]


def test_without_a_budget_the_network_is_trained_as_it_is(tmp_path: Path) -> None:
    report = run(Linear, tmp_path / "out", method="dense", train="finetune", epochs=2)
    assert [s.name for s in report.stages] in (["source", "trained", "quantized"], ["source", "quantized"])
    edgelr.load(tmp_path / "out", network(Linear))


def test_without_labels_the_source_is_the_teacher(tmp_path: Path) -> None:
    given = data()
    assert given.train is not None and given.validation is not None
    bare = Data(Split(given.train.x), Split(given.validation.x), given.test, given.calibration)
    told = scores(run(Rows, None, RECURRENT[1], bare, train="finetune", epochs=4, **WAY))
    assert told["trained"] > told["factorized"] + 0.25 * (told["source"] - told["factorized"])


def test_training_that_makes_it_worse_is_not_kept() -> None:
    """Labels of the train part that are all wrong, and nothing else to go by."""
    given = data()
    assert given.train is not None and given.train.y is not None
    wrong = Data(Split(given.train.x, (given.train.y + 1) % 10), given.validation, given.test, given.calibration)
    report = run(Convolutional, None, CONV[1], wrong, train="finetune", epochs=2, **WAY, distill=0.0)
    assert any("kept as it was before training" in w for w in report.warnings)
    assert "trained" not in scores(report)
    stage = report.training_stages[0]
    assert stage.score_before is not None and stage.score_after is not None and stage.score_after.value < stage.score_before.value


def test_training_on_the_grid_comes_after_training_in_float(tmp_path: Path) -> None:
    report = run(Rows, tmp_path / "out", RECURRENT[1], train="finetune", epochs=2, qat=True, **WAY)
    assert [s.recipe for s in report.training_stages] == ["finetune", "qat"]
    assert report.training is not None and report.training.epochs != 0 and report.training_stages[0].epochs == 2


def test_samples_held_out_of_the_train_part_judge_where_there_is_no_validation_part() -> None:
    given = data()
    report = run(Linear, None, "60%params", Data(given.train, None, given.test, given.calibration), train="finetune", epochs=2)
    after = report.training_stages[0].score_after
    assert after is not None and given.train is not None
    assert after.n + report.training_stages[0].samples == len(given.train)


@pytest.mark.parametrize(("settings", "said"), [
    ({"train": "bsr"}, "nothing for --train bsr to compress"),
    ({"train": "lc", "budgets": (parse_budget("50%params"),), "method": "dense"}, "nothing for --train lc to compress"),
    ({"epochs": 3}, "--epochs 3 has nothing to train"),
    ({"time": "30min"}, "--time has nothing to train"),
    ({"train": "finetune", "time": "soon"}, "can't read the time 'soon'"),
    ({"train": "finetune", "distill": -1.0}, "--distill -1 is no weight"),
    ({"train": "finetune", "resume": True}, "nothing to resume"),
    ({"train": "sgd"}, "unknown recipe of training 'sgd'"),
])  # fmt: skip
def test_what_can_not_be_trained_is_refused_before_any_work(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as error:
        Settings(**settings)
    assert said in error.value.what and error.value.try_


def test_data_without_a_train_part_are_refused_before_any_work() -> None:
    given = data()
    lacking = Data(None, given.validation, given.test, given.calibration)
    with pytest.raises(UsageError) as error:
        run(Convolutional, None, CONV[1], lacking, train="finetune")
    assert "--train finetune needs a train part" in error.value.why
    report = run(Convolutional, None, CONV[1], lacking, train="auto")
    assert any("nothing was trained" in w for w in report.warnings)


def test_the_command_line_ends_with_code_2(inputs: Path) -> None:
    said = command_line("compress", *words(inputs), "--budget", "50%params", "-o", str(inputs / "never"), "--train", "bsr", "--time", "x")
    assert said.code == 2 and "90s, 30min or 2h" in said.err
    said = command_line("quantize", *words(inputs), "-o", str(inputs / "never"), "--train", "bsr")
    assert said.code == 2 and "--train finetune" in said.err
