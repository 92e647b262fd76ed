"""Targets are read strictly, and what is wrong is said with the nearest right word."""
from __future__ import annotations

from pathlib import Path

import pytest

from edgelr.devices import list_targets, load_target
from edgelr.errors import BadInputError, UsageError

GOOD = """
name = "board"
device = "a board"
runtimes = ["litert"]
threads = 2
number_format = "w8a8"
[rank_steps]
litert = 8
"""


def written(folder: Path, text: str) -> Path:
    (folder / "target.toml").write_text(text)
    return folder


def test_host_has_both_runtimes_with_their_rank_steps() -> None:
    host = load_target("host")
    assert host.name == "host" and host.runtimes == ("litert", "onnxruntime") and host.threads == 1
    assert host.rank_steps == {"litert": 16, "onnxruntime": 16} and host.number_format == "w8a8"
    assert host.facts and all(fact.source for fact in host.facts)
    assert load_target("host@local") == host and "host" in list_targets()


def test_an_unknown_target_names_what_there_is_and_the_nearest() -> None:
    with pytest.raises(UsageError) as error:
        load_target("hst")
    assert error.value.exit_code == 2 and "did you mean 'host'?" in str(error.value)
    assert f"there is: {', '.join(list_targets())}." in str(error.value)


@pytest.mark.parametrize("name", ["host@ssh://pi@192.0.2.7", "host@", "", "../host", "nowhere@local"])
def test_what_can_not_be_attached_or_found_is_a_usage_error(name: str) -> None:
    with pytest.raises(UsageError):
        load_target(name)


def test_a_target_is_found_by_its_path(tmp_path: Path) -> None:
    board = load_target(written(tmp_path, GOOD))
    assert board.name == "board" and board.threads == 2 and board.rank_steps == {"litert": 8} and board.facts == ()
    assert load_target(tmp_path / "target.toml") == board


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("threads = 2", "thread = 2", "did you mean 'threads'?"),
        ("litert = 8", "litert = 8\nlitrt = 8", "did you mean 'litert'?"),
        ("threads = 2", "", "'threads' is missing"),
        ("litert = 8", "", "'litert' is missing in 'rank_steps'"),
        ("threads = 2", "threads = true", "whole number"),
        ("threads = 2", "threads = 0", "whole number"),
        ("litert = 8", "litert = 0", "whole numbers"),
        ('["litert"]', '["tensorrt"]', "'runtimes' must be"),
        ('["litert"]', '"litert"', "'runtimes' must be"),
        ('"w8a8"', '"w4a4"', "'number_format' must be"),
        ("litert = 8", 'litert = 8\n[[facts]]\ntext = "fast"', "'source' is missing in 'facts'"),
        ("threads = 2", "threads = ", "can't be read"),
    ],
)
def test_a_wrong_target_file_says_what_is_wrong(tmp_path: Path, old: str, new: str, told: str) -> None:
    with pytest.raises(BadInputError) as error:
        load_target(written(tmp_path, GOOD.replace(old, new)))
    assert told in str(error.value) and "target.toml" in str(error.value)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("clock_ghz = 1500", "'clock_ghz' must be gigahertz"),
        ("clock_ghz = 15.0", "'clock_ghz' must be gigahertz"),
        ('features = ["sve"]', "'features' must be"),
        ('numbers = ["int4"]', "'numbers' must be"),
        ("numbers = []", "'numbers' must be"),
        ("core = 72", "'core' must be a text"),
        ('kernel = "cortex-a72"', "did you mean 'kernels'?"),
    ],
)
def test_what_is_said_of_a_core_is_checked(tmp_path: Path, line: str, told: str) -> None:
    with pytest.raises(BadInputError) as error:
        load_target(written(tmp_path, GOOD.replace("[rank_steps]", f"{line}\n[rank_steps]")))
    assert told in str(error.value)


def test_a_core_its_clock_and_its_kernels_are_read(tmp_path: Path) -> None:
    lines = 'core = "cortex-x1"\nclock_ghz = 2.8\nkernels = "cortex-a76"\nfeatures = ["dotprod"]\nnumbers = ["int8", "float"]\n[rank_steps]'
    board = load_target(written(tmp_path, GOOD.replace("[rank_steps]", lines)))
    assert (board.core, board.clock_ghz, board.kernels) == ("cortex-x1", 2.8, "cortex-a76")
    assert board.features == ("dotprod",) and board.numbers == ("int8", "float")
    assert load_target(written(tmp_path, GOOD)).numbers == ("int8", "dynamic", "float") and load_target(written(tmp_path, GOOD)).core == ""
