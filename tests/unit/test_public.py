"""What users rely on by name: the public names of the package, its version, its commands, its exit codes."""
from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest

import edgelr
from edgelr.errors import Exit

COMMANDS = ("compress", "plan", "inspect", "quantize", "verify", "demo", "doctor")


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """The program as a user starts it."""
    return subprocess.run([sys.executable, "-m", "edgelr", *words], capture_output=True, text=True, check=False)


def test_public_names_are_few_and_all_there() -> None:
    assert {"compress", "load"} <= set(edgelr.__all__)
    assert len(edgelr.__all__) <= 16
    for name in edgelr.__all__:
        assert getattr(edgelr, name) is not None


def test_the_package_tells_the_version_it_was_installed_as(root: Path) -> None:
    declared = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert edgelr.__version__ == version("edgelr") == declared


def test_the_package_is_marked_as_typed() -> None:
    assert (Path(edgelr.__file__).parent / "py.typed").is_file()


def test_the_command_and_the_module_are_one_program() -> None:
    from edgelr.cli import main

    (script,) = entry_points(group="console_scripts", name="edgelr")
    assert script.load() is main


def test_help_lists_every_command() -> None:
    done = run("--help")
    assert done.returncode == Exit.OK
    for command in COMMANDS:
        assert f" {command} " in done.stdout


@pytest.mark.parametrize("words", [("no-such-command",), ("compress",), ("compress", "net.py:f", "--no-such-option")])
def test_a_wrong_call_is_told_without_a_traceback(words: tuple[str, ...]) -> None:
    done = run(*words)
    assert done.returncode == Exit.USAGE
    assert "Traceback" not in done.stdout + done.stderr
    assert done.stderr.strip()


def test_exit_codes_are_those_of_the_contract() -> None:
    assert {e.name: int(e) for e in Exit} == {
        "OK": 0, "FAULT": 1, "USAGE": 2, "BAD_INPUT": 3, "BUDGET": 4, "GATE": 5, "DEVICE": 6, "UNTRUSTED_MEASUREMENT": 7,
        "INTERRUPTED": 130,
    }  # fmt: skip
