"""The same files in other interpreters. Each place is made where it can be; where not, its test is skipped."""
from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from elsewhere import HERE, Job, Place, difference, run_at
from emulated import HASWELL
from environments import AbsentError, arm, old_board, tensorflow, x86
from exported import joined
from golden_files import compared, onnx_jobs, tflite_jobs
from golden_jobs import inputs_of, onnx_input
from golden_models import written
from old_boards import KNOWN, failing
from operators_alone import alone

from edgelr.devices.sysroot import CORES


@pytest.fixture(scope="session")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("environments")


def test_what_a_runtime_refuses_is_told_and_the_rest_runs() -> None:
    job = tflite_jobs(["conv_1x1"])[0][0]
    broken = Job("broken", "tflite", b"\0" * 64, job.inputs)
    got = run_at(HERE, [broken, job])
    assert isinstance(got["broken"], str) and not isinstance(got[job.name], str)


def test_a_file_that_takes_its_process_with_it_does_not_take_the_others(tmp_path: Path) -> None:
    job = tflite_jobs(["conv_1x1"])[0][0]
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "def hook(event, args):\n"
        "    if event == 'open' and str(args[0]).endswith('deadly.tflite'): os._exit(9)\n"
        "sys.addaudithook(hook)\n")
    place = Place("here", [sys.executable], environment={"PYTHONPATH": str(tmp_path)})
    got = run_at(place, [Job("deadly", "tflite", job.data, job.inputs), job])
    assert got["deadly"] == "the process died" and not isinstance(got[job.name], str)


def test_a_place_without_the_runtime_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="no_such_runtime"):
        run_at(Place("nowhere", [sys.executable], tflite="no_such_runtime"), tflite_jobs(["conv_1x1"])[0])


def test_differences_are_in_steps_for_integers_and_relative_for_reals() -> None:
    assert difference([np.int8([127, 1])], [np.int8([-128, 1])]).worst == 255
    found = difference([np.float32([4, 1])], [np.float32([4, 2])])
    assert (found.worst, found.equal, found.integer) == (0.25, 1, False)
    assert difference([np.float32([1])], [np.float32([np.nan])]).worst == float("inf")
    with pytest.raises(ValueError, match="shapes or types"):
        difference([np.zeros(2)], [np.zeros(3)])


@pytest.mark.parametrize("name", ["add", "mul_one_place"])
@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_operations_alone_end_with_what_the_whole_file_computes(name: str, format: Literal["tflite", "onnx"]) -> None:
    data = written(name, format)
    job = Job("whole", format, data, inputs_of(data) if format == "tflite" else [onnx_input(name)])
    parts = [part for part, _ in alone(job)]
    got = run_at(HERE, [job, *parts])
    assert len(parts) > 1
    np.testing.assert_array_equal(got[parts[-1].name][0], got["whole"][0])


def test_rows_that_differ_in_one_column_become_one() -> None:
    assert joined([["a", 1, "x"], ["b", 2, "x"], ["c", 1, "x"]], 0) == [["a; c", 1, "x"], ["b", 2, "x"]]


@pytest.mark.slow
@pytest.mark.parametrize("make", [old_board, tensorflow, lambda f: tensorflow(f, False)], ids=["old", "tensorflow", "undelegated"])
@pytest.mark.timeout(900)
def test_every_operator_is_within_a_step_in_other_runtimes(make: object, environments: Path) -> None:
    try:
        place = make(environments)  # type: ignore[operator]
    except AbsentError as error:
        pytest.skip(str(error))
    jobs, kinds = tflite_jobs()
    rows = compared(run_at(HERE, jobs), run_at(place, jobs), kinds)
    assert failing(rows, KNOWN.get(place.name, ())) == []


@pytest.mark.slow
@pytest.mark.parametrize("core", ["haswell", *CORES])
@pytest.mark.timeout(900)
def test_every_operator_is_within_a_step_on_other_processors(core: str, environments: Path) -> None:
    try:
        place = x86() if core == "haswell" else arm(environments, core)
    except AbsentError as error:
        pytest.skip(str(error))
    (lite, lite_kinds), (onnx, onnx_kinds) = tflite_jobs(), onnx_jobs(weight_max=63 if core == "haswell" else 127)
    here, there = run_at(HERE, [*lite, *onnx]), run_at(place, [*lite, *onnx])
    assert failing(compared(here, there, lite_kinds), ()) == []
    rows = compared(here, there, onnx_kinds, steps=0 if place.name == HASWELL else 1)
    assert failing(rows, ()) == []
