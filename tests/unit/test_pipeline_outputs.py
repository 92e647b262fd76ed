"""The output folder: every file whole or none, and a plan.toml that reads back or says what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgelr.errors import BadInputError, UsageError
from edgelr.pipeline.outputs import save
from edgelr.pipeline.plans import from_toml, to_toml
from edgelr.pipeline.settings import Settings, preflight
from edgelr.vocabulary import Choice, Plan


def test_files_are_written_with_the_folders_above_them(tmp_path: Path) -> None:
    save(tmp_path / "a" / "b", {"one": b"1", "two": b""})
    assert {p.name: p.read_bytes() for p in (tmp_path / "a" / "b").iterdir()} == {"one": b"1", "two": b""}
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_failure_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    out = tmp_path / "out"
    save(out, {"one": b"old"})
    with pytest.raises(BadInputError, match="can't be written"):
        save(out, {"one": b"new", "no/such/folder": b"x"})
    assert {p.name: p.read_bytes() for p in out.iterdir()} == {"one": b"old"}
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_networks_of_an_earlier_run_go_and_other_files_stay(tmp_path: Path) -> None:
    save(tmp_path, {"model.int8.onnx": b"old", "model.int8.tflite": b"old", "mine.onnx": b"mine"})
    save(tmp_path, {"model.int8.onnx": b"new"})
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"model.int8.onnx": b"new", "mine.onnx": b"mine"}


def test_an_empty_folder_and_one_that_is_not_there_are_taken(tmp_path: Path) -> None:
    assert preflight(str(tmp_path), False) == tmp_path
    assert preflight(str(tmp_path / "x" / "y"), False) == tmp_path / "x" / "y"
    assert not (tmp_path / "x").exists()


NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)
CHOICES = st.one_of(st.just(Choice()), st.builds(Choice, st.sampled_from(["channel", "spatial", "linear"]), st.integers(1, 512)))


@given(st.dictionaries(NAMES, CHOICES), NAMES, st.lists(st.integers(1, 512), min_size=1, max_size=4))
def test_any_plan_round_trips_through_toml(chosen: dict[str, Choice], model: str, shape: list[int]) -> None:
    plan, read_shape = from_toml(to_toml(Plan(chosen), model, tuple(shape)), "plan.toml")
    assert dict(plan.choices) == chosen and list(plan.choices) == list(chosen) and read_shape == tuple(shape)


HEAD = "schema = 1\ninput = [1, 8, 8]\n[layers]\n"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "schema = 2",
        "schema = 1",
        "not toml [",
        "schema = 1\ninput = [0]\n[layers]",
        'schema = 1\ninput = ["a"]\n[layers]',
        HEAD + "a = 3",
        HEAD + 'a = { scheme = "tucker", rank = 2 }',
        HEAD + 'a = { scheme = "channel" }',
        HEAD + 'a = { scheme = "dense", rank = 2 }',
        HEAD + 'a = { scheme = "channel", rank = 0 }',
        HEAD + 'a = { scheme = "channel", rank = 1.5 }',
        HEAD + 'a = { scheme = "channel", rank = 2, x = 1 }',
    ],
)
def test_a_file_that_is_no_plan_is_named(text: str) -> None:
    with pytest.raises(BadInputError, match=r"plan\.toml"):
        from_toml(text, "plan.toml")


@pytest.mark.parametrize("settings", [{"method": "best"}, {"schemes": ("cp",)}, {"formats": ()}, {"via": "mail"}, {"calibration": "guess"}])
def test_an_unknown_word_in_the_settings_is_a_usage_error(settings: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Settings(**settings)  # type: ignore[arg-type]
